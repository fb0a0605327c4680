#!/usr/bin/env python3
"""The rules catch what they are for, and leave good code alone."""
import unittest

from check_rules import check_file


class CheckFile(unittest.TestCase):
    def complaints(self, name, text):
        return list(check_file(name, text))

    def test_a_plugin_may_not_reach_into_the_core(self):
        found = self.complaints("plugins/storage-acme/engine.cpp", '#include "streambus/broker/runtime.hpp"\n')
        self.assertEqual(len(found), 1)
        self.assertIn("may include only streambus/{base,plugin}/", found[0])

    def test_a_plugin_may_not_include_another_plugin(self):
        self.assertTrue(self.complaints("plugins/storage-acme/engine.cpp", '#include "../storage-wal/log.hpp"\n'))

    def test_base_knows_nothing_above_it(self):
        self.assertTrue(self.complaints("core/src/base/crc32c.cpp", '#include "streambus/plugin/host.hpp"\n'))

    def test_asio_stays_in_its_plugin(self):
        self.assertTrue(self.complaints("client/src/producer.cpp", "#include <boost/asio.hpp>\n"))
        self.assertFalse(self.complaints("plugins/transport-tcp/loop.cpp", "#include <boost/asio.hpp>\n"))

    def test_the_core_names_no_plugin(self):
        self.assertTrue(self.complaints("core/src/broker/runtime.cpp", 'load("storage-wal");\n'))
        self.assertFalse(self.complaints("core/src/broker/runtime.cpp", '// such as "storage-wal"\n'))

    def test_sizes_folders_and_guards(self):
        self.assertTrue(self.complaints("core/src/base/long.cpp", "\n" * 2000))
        self.assertTrue(self.complaints("core/src/utils/x.cpp", ""))
        self.assertTrue(self.complaints("core/src/base/x.hpp", ""))

    def test_good_code_is_left_alone(self):
        text = '#pragma once\n#include <vector>\n#include "streambus/plugin/storage.hpp"\n#include "segment.hpp"\n'
        self.assertEqual(self.complaints("plugins/storage-acme/engine.hpp", text), [])


if __name__ == "__main__":
    unittest.main()
