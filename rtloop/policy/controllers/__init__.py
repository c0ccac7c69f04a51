"""Controllers behind an action: one class each. They run in each cycle, also between two runs of the policy.

A kind is chosen by the key that names it (``pd:``, ``low_pass:``), registers where it is written
(``controller.CONTROLLERS``) and is found by being in this folder.
"""
