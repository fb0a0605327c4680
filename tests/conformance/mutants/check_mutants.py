#!/usr/bin/env python3
"""Proves the conformance kit: it fails every mutant of the reference engine and passes the engine itself.

usage: check_mutants.py STREAMBUS ENGINE [--sanitizer NAME] [--seeds N] [--only MUTATION]
"""
import argparse, concurrent.futures, json, subprocess, sys

# Which group of cases is the one that a mutation is meant for; any failed case counts, but it should be found there.
RACES = ("data_race",)  # only the thread sanitizer sees these
# What a sanitizer build looks at: what its reports add to, and how a case ends. All others are the plain build's.
SANITIZED = ("none", "slice_freed_early", "crashes", "hangs", *RACES)


def check(arguments, *options):
    command = [arguments.streambus, "plugin", "check", arguments.engine, "--json", "--jobs", "1", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1800)
    if done.returncode not in (0, 1):
        sys.exit(f"{' '.join(command)}: exit code {done.returncode}\n{done.stderr}")
    certificate = json.loads(done.stdout)
    failed = [case for case in certificate["cases"] if case["outcome"] == "failed"]
    if (done.returncode == 1) != bool(failed):
        sys.exit(f"{' '.join(command)}: exit code {done.returncode} with {len(failed)} failed cases")
    return failed


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("streambus")
    parser.add_argument("engine")
    parser.add_argument("--sanitizer", default="")
    parser.add_argument("--seeds", type=int, default=0, help="check only the right engine, with so many seeds at level durable")
    parser.add_argument("--only", default="")
    arguments = parser.parse_args()

    if arguments.seeds:
        wrong = 0
        for seed in range(1, arguments.seeds + 1):
            failed = check(arguments, "--level", "durable", "--seed", str(seed))
            print(f"seed {seed}: {len(failed)} failed cases", flush=True)
            for case in failed:
                wrong += 1
                print(f"{case['id']}: {case['message']}\n  {case['where']}\n  {case['replay']}")
        print(f"the right engine with {arguments.seeds} seeds: {wrong} failed cases")
        return 1 if wrong else 0

    info = json.loads(subprocess.run([arguments.streambus, "plugin", "info", arguments.engine, "--json"], capture_output=True, text=True, check=True).stdout)
    mutations = next(option["choices"] for option in info["options"] if option["key"] == "mutation").split("|")
    if arguments.only:
        mutations = [arguments.only]
    if arguments.sanitizer:
        mutations = [mutation for mutation in mutations if mutation in SANITIZED or mutation == arguments.only]
    if arguments.sanitizer != "thread":
        mutations = [mutation for mutation in mutations if mutation not in RACES]
    problems = 0
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        options = {mutation: ("--config", f"mutation={mutation}", "--timeout", "60" if arguments.sanitizer else "10") for mutation in mutations}
        for mutation, failed in zip(mutations, pool.map(lambda name: check(arguments, *options[name]), mutations)):
            right = bool(failed) == (mutation != "none")
            problems += not right
            found = ", ".join(case["id"] for case in failed[:4]) + (" ..." if len(failed) > 4 else "")
            print(f"{'ok  ' if right else 'WRONG'} {mutation:<24} {len(failed):>2} failed: {found or '-'}")
    print(f"{len(mutations)} variants, {problems} judged wrongly")
    return 1 if problems or (not arguments.only and not arguments.sanitizer and len(mutations) < 21) else 0


if __name__ == "__main__":
    sys.exit(main())
