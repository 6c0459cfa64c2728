"""Crawled pages as documents: main text with its code blocks, from archives and tables.

`warc` and `tables` read crawl files into `page.RawPage`s, `http` unpacks what servers sent,
`charset` makes text of bytes, `main_text` and `code_blocks` make Markdown-like text of HTML,
`transform` puts them together on Beam, `domains` counts by host. Every response is a
document or a drop with its reason. `beam_pipelines.web_pages` is the command, docs/web.md
explains the choices.
"""
