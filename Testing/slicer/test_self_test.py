"""The module's own test, as "Reload and Test" and ctest start it."""

from __future__ import annotations

import unittest


class SelfTest(unittest.TestCase):
    def test_passes(self) -> None:
        from MedDenoise import MedDenoiseTest

        result = unittest.TestResult()
        unittest.TestLoader().loadTestsFromTestCase(MedDenoiseTest).run(result)
        self.assertGreater(result.testsRun, 0)
        self.assertTrue(result.wasSuccessful(), [text for _, text in (*result.failures, *result.errors)])
        if result.skipped:
            self.skipTest(result.skipped[0][1])


if __name__ == "__main__":
    unittest.main()
