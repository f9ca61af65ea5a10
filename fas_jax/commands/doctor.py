"""Prints the machine's resources, and tests that the package works on it."""

from functools import partial

from fas_jax.runtime import cli


def main(no_test: bool = False) -> int:
    """Prints devices, memory (with a container's limit), decoders, packages, weights and face detectors; runs a test.

    The test takes about 20 seconds: it renders a clip, decodes it, finds its face, runs a jitted step on the first
    device and scores a made-up frame with the model that comes with the package. The exit code is 1 if a part fails. If
    a part needs a package that is not installed, the test skips it and says how to install the package.

    Args:
        no_test: Prints the machine's resources only.
    """
    from fas_jax.library import doctor

    for name, said in doctor.describe_machine():
        print(f"{name:26} {said}", flush=True)
    if no_test:
        return 0
    print()
    failed = 0
    for check in doctor.self_test():
        failed += check.outcome == "fail"
        print(f"{check.outcome}  {check.name} ({check.seconds:.1f} s): {check.said}", flush=True)
    print(f"\n{failed} parts failed" if failed else "\nall is well")
    return int(failed > 0)


command = partial(cli.main, main)
