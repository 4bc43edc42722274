"""This machine itself."""

databases = {"case_management": "development"}
