"""Rules about IDT, GDT and the handlers behind them."""
