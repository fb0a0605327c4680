#!/usr/bin/env bash
# Saves the description of the plugin API's binary interface (tests/abi/plugin_api.abi), after a change that is meant.
exec "$(dirname "$0")/../tests/abi/check_abi.py" --save
