"""The whole site, for plain pyinfra: pyinfra inventories/containers.py deploy/run.py"""

from deploy.site import site

site()
