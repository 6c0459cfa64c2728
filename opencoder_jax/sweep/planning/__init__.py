"""From a sweep's gin file to its plan: arms, what each would really do, keys, budgets, prices."""
