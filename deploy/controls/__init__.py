"""Security controls, a subject a file. Pure."""
