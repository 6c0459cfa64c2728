"""What a file is written in, told by its name, and where its comments are.

`file_types` names the language and the kind of a file (code, data, text); `comments`
splits a text into code and comments. Both read tables that stand beside them
(`languages.tsv`, `comment_syntax.json`), so a language is a row, not a branch.
"""
