"""This machine itself."""

import os

# Root has nobody to become, and a small machine no sudo.
_sudo = os.geteuid() != 0

databases = {"case_management": "development"}
