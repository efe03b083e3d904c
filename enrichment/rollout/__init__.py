"""Which path serves and which provider computes, and on what evidence."""
