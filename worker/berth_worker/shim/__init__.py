"""
The shim, parent of one attempt's job, and the fork server that forks it. Standard library only.

This folder runs on its own (`python -I -S shim/`), works on Python 3.8 and imports nothing
from the rest of Berth: nothing that a running job needs may depend on a daemon.
"""
