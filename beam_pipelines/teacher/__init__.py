"""A teacher: a language model that jobs ask, behind an endpoint or in vLLM on the workers.

`prompt` is what is asked and answered, `templates` the wordings, `settings` which teacher, `ask`
the transform. Below it: `client` (calls side by side, asked again where that helps), `replies`
(what a server's body says), `pace` (rates), `cache` (no call is paid twice), `ledger` (what was
spent, and the budget), `vllm_server`. A job reports with `usage` and foretells with `estimate`;
`refusal` knows a model that declines. docs/teacher.md explains.
"""
