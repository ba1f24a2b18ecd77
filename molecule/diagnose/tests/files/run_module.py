"""Runs a module of the collection on a host as Ansible does, without its start: MODULE, and its arguments on stdin."""

import importlib
import json
import sys

from ansible.module_utils.testing import patch_module_args

module = importlib.import_module(f"ansible_collections.wharf.registry.plugins.modules.{sys.argv[1]}")
with patch_module_args(json.load(sys.stdin)):
    module.main()
