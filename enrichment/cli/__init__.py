"""The command line, one file per noun; heavy rooms are imported inside the commands."""
