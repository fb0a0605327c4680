#!/usr/bin/env python3
"""What `streambus plugin check` answers: exit codes, reports, replays, refusals; and what it does when a case crashes or hangs.

usage: test_check.py STREAMBUS ENGINE PROBES   (unittest options follow)
"""
import json, os, pathlib, re, shlex, subprocess, sys, tempfile, unittest
import xml.etree.ElementTree

STREAMBUS, ENGINE, PROBES = sys.argv[1:4]


def check(*arguments):
    done = subprocess.run([STREAMBUS, "plugin", "check", *arguments], capture_output=True, text=True, timeout=300)
    return done.returncode, done.stdout, done.stderr


class Check(unittest.TestCase):
    def test_a_right_plugin_passes_and_the_certificate_says_how(self):
        with tempfile.TemporaryDirectory() as folder:
            junit, certificate = f"{folder}/junit.xml", f"{folder}/certificate.json"
            code, out, err = check(ENGINE, "--only", "storage.order", "--seed", "7", "--junit", junit, "--certificate", certificate)
            self.assertEqual(code, 0, out + err)
            self.assertIn("ok    storage.order.gaps", out)
            self.assertIn("durability unverified", out)
            parsed = json.loads(pathlib.Path(certificate).read_text())
            suite = xml.etree.ElementTree.parse(junit).getroot()
        self.assertEqual(parsed["plugin"]["name"], "storage-reference")
        self.assertRegex(parsed["plugin"]["build_id"], "^([0-9a-f]{2})+$")
        self.assertEqual((parsed["result"], parsed["level"], parsed["seed"]), ("passed", "basic", 7))
        self.assertEqual(parsed["durability"]["class"], "fsync-batch")
        self.assertFalse(parsed["durability"]["verified"])
        self.assertEqual(parsed["counts"]["passed"], len(parsed["cases"]))
        self.assertTrue(all(case["contract"] and case["seconds"] >= 0 for case in parsed["cases"]))
        self.assertEqual(int(suite.get("tests")), len(parsed["cases"]))

    def test_a_failure_can_be_replayed_by_its_own_command(self):
        code, out, _ = check(ENGINE, "--config", "mutation=start_forgotten", "--seed", "3", "--only", "storage.order.empty")
        self.assertEqual(code, 1, out)
        self.assertIn("contract: ", out)
        self.assertIn("expected 1000, found 0", out)
        replay = re.search(r"replay: (.*)", out).group(1)
        self.assertIn("--seed 3", replay)
        self.assertIn("--config mutation=start_forgotten", replay)
        again = subprocess.run(shlex.split(replay), capture_output=True, text=True, timeout=300)
        self.assertEqual(again.returncode, 1, again.stdout + again.stderr)
        self.assertIn("expected 1000, found 0", again.stdout)

    def test_a_crash_is_a_failed_case_and_the_others_run(self):
        code, out, _ = check(ENGINE, "--config", "mutation=crashes", "--json", "--only", "storage.retention")
        cases = {case["id"]: case for case in json.loads(out)["cases"]}
        self.assertEqual(code, 1)
        self.assertEqual(cases["storage.retention.time"]["outcome"], "failed")
        self.assertRegex(cases["storage.retention.time"]["message"], "a crash|sanitizer")
        self.assertEqual(cases["storage.retention.delete_all"]["outcome"], "passed")

    def test_a_hang_is_a_failed_case(self):
        code, out, _ = check(ENGINE, "--config", "mutation=hangs", "--timeout", "2", "--json", "--only", "storage.order.gaps")
        self.assertEqual(code, 1)
        [case] = [case for case in json.loads(out)["cases"] if case["outcome"] == "failed"]
        self.assertIn("a hang: expected the case to end", case["message"])

    def test_an_exception_that_leaves_a_virtual_is_a_failed_case(self):
        code, out, _ = check(ENGINE, "--config", "mutation=throws", "--json", "--only", "storage.order.sequence")
        [case] = [case for case in json.loads(out)["cases"] if case["outcome"] == "failed"]
        self.assertEqual(code, 1)
        self.assertIn("an exception that nobody asked for", case["output"])

    def test_without_a_fork_a_failure_aborts_in_this_process(self):
        code, _, err = check(ENGINE, "--config", "mutation=gap_refused", "--only", "storage.order.gaps", "--no-fork")
        self.assertNotIn(code, (0, 1, 2))
        self.assertIn("failed: append behind a gap", err)
        code, out, err = check(ENGINE, "--only", "storage.order.gaps", "--no-fork")
        self.assertEqual(code, 0, out + err)

    def test_refusals_say_what_to_do(self):
        for arguments, words in (
            (("storage-nowhere",), "there is no plugin 'storage-nowhere'"),
            ((ENGINE, "--only", "storage.nothing"), "storage.order.gaps"),
            ((ENGINE, "--config", "mutation"), "expected KEY=VALUE"),
            ((ENGINE, "--config", "mutant=none"), "expected one of the options of storage-reference"),
            ((ENGINE, "--config", "mutation=nothing"), "option 'mutation'"),
            ((ENGINE, "--level", "high"), "--level"),
            ((f"{PROBES}/hostile/no-note.so",), "built without STREAMBUS_PLUGIN"),
            ((f"{PROBES}/hostile/throw.so",), "no licence for this machine"),
            ((f"{PROBES}/hostile/liar.so",), "codec-other"),
            ((f"{PROBES}/probes/storage-needy.so",), "--config where=VALUE"),
            ((f"{PROBES}/probes/storage-probe.so",), "a probe keeps nothing"),
        ):
            with self.subTest(arguments=arguments):
                code, out, err = check(*arguments)
                self.assertEqual(code, 2, out + err)
                self.assertIn(words, err)

    def test_a_plugin_of_another_sanitizer_is_refused_with_the_way_to_check_it(self):
        content = bytearray(pathlib.Path(ENGINE).read_bytes())
        at = content.index(b"StreamBus\0\0\0") + 12 + 4 + 4 + 2
        content[at] ^= 2
        with tempfile.TemporaryDirectory() as folder:
            file = pathlib.Path(folder) / "storage-reference.so"
            file.write_bytes(content)
            os.chmod(file, 0o755)
            code, _, err = check(str(file))
        self.assertEqual(code, 2)
        self.assertIn("sanitizers: expected", err)
        self.assertRegex(err, "scripts/build.sh tsan streambus|use the plain one|scripts/build.sh asan")


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[4:]])
