"""One folder for each family of rules, one file for each rule."""
