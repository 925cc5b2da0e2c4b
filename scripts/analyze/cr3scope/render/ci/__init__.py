"""Results in the forms that CI systems and editors read: one file a form."""
