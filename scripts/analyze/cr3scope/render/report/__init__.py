"""The parts of `report.html`: what is embedded, what is drawn without scripts, and the page's own scripts (`page/`)."""
