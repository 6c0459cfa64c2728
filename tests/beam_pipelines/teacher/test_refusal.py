"""A model that declines is told from one that answers with words like it."""

import pytest

from beam_pipelines.teacher.refusal import looks_like_refusal

# As models of several makers word them.
REFUSALS = [
    "I'm sorry, but I can't assist with that.",
    "I’m sorry, but I can’t help with that request.",
    "I'm sorry, I cannot fulfill this request.",
    "I am sorry, but I am unable to provide code that would harm others.",
    "Sorry, I can't help with that.",
    "Sorry, but I won't be able to write that exploit for you.",
    "I apologize, but I cannot provide instructions for that.",
    "I apologize for any inconvenience, but I'm not able to generate that content.",
    "My apologies, but I can't comply.",
    "As an AI language model, I cannot execute code or access external websites.",
    "I'm sorry, but as an AI language model, I don't have the ability to browse the internet.",
    "As a responsible AI, I must decline to write malware.",
    "Unfortunately, I cannot create a keylogger.",
    "I cannot and will not provide a script for that purpose.",
    "I can't do that.",
    "I'm not able to help with this one. Is there something else?",
    "I will not write code that breaks into accounts.",
    "I must respectfully decline this request.",
    "I have to decline.",
    "I do not feel comfortable writing this.",
    "That's not something I can help with.",
    "Sorry, that's beyond my current scope. Let's talk about something else.",
    "This request violates our usage policies.",
    "I understand that you want to test your own systems, but I can't provide a working exploit.",
    "Thank you for your question, but I'm unable to answer it.",
    "It would be unethical to write such a program.",
    "**I'm sorry, but I can't help with that.**",
    "I'm unable to view the image that you mention.",
    "抱歉，我无法提供这方面的帮助。",
    "对不起，我不能协助完成这个请求。",
    "很抱歉，作为一个人工智能语言模型，我无法执行代码。",
    "非常抱歉，我无法为您编写恶意软件。",
    "作为AI助手，我不能提供这样的代码。",
    "你好，这个问题我暂时无法回答，让我们换个话题再聊聊吧。",
    "我无法满足您的请求。",
    "我不能帮你写这个程序。",
    "抱歉，您的请求违反了相关法律法规，我无法处理。",
    "對不起，我無法提供協助。",
    "不好意思，我没有办法完成这项任务。",
]
ANSWERS = [
    "",
    "Sorry for the confusion! The loop should start at 1.",
    "I'm sorry for the mistake. Here is the fix:\n\n```python\nfor i in x:\n    f(i)\n```",
    "I can't stress enough how important it is to close the file.",
    "I cannot recommend this library enough.",
    "I can't help but notice that the index is off by one.",
    "Unfortunately, Python has no switch before 3.10, so use a dictionary.",
    "Unfortunately, lists cannot be used as keys. Use a tuple.",
    "I cannot run it here, but here it is:\n```python\ndef f(x):\n    return x + 1\n```",
    "As an AI language model would see it, attention is a weighted mean.",
    "def refuse():\n    return \"I'm sorry, but I can't help with that.\"",
    '```python\nmessage = "I cannot help you"\nprint(message)\n```',
    "The function cannot return None, since every branch returns a number.",
    "You can't provide both arguments at one time.",
    "If the server refuses, it answers: I'm sorry, I can't help with that.",
    "The error 'I cannot open the file' means that the path is wrong.",
    "I would use a set here.",
    "This question goes to the heart of type theory.",
    "对不起，上面的代码有错误，正确的写法是 x += 1。",
    "抱歉让你久等了，下面是完整的解决方案。",
    "我不能不提到一个重要的细节：索引从零开始。",
    "无法连接数据库的原因通常是密码错误。",
    "作为一个初学者，你可以先学习列表。",
    "该函数不能返回空值，因为每个分支都有返回语句。",
    "如果文件无法写入，请检查权限。",
    "这个问题可以用动态规划解决。",
    "对不起用英语怎么说？I'm sorry.",
]


@pytest.mark.parametrize("text", REFUSALS)
def test_a_refusal_is_known(text: str) -> None:
    assert looks_like_refusal(text)
    assert looks_like_refusal(f"\n{text}\n\nIs there anything else?\n")


@pytest.mark.parametrize("text", ANSWERS)
def test_an_answer_that_looks_alike_is_none(text: str) -> None:
    assert not looks_like_refusal(text)


def test_a_long_text_or_one_with_code_is_an_answer() -> None:
    refusal = "I'm sorry, but I can't help with the second part."
    assert looks_like_refusal(refusal)
    assert not looks_like_refusal(f"{refusal} The first one: {'word ' * 400}")
    assert not looks_like_refusal(f"{refusal}\n\n```go\nfunc f() {{\n}}\n```")


# Each takes minutes where a regret can be divided in several ways.
@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "part",
    ["thanks ", "i am an ai i ", "but i am an ai ", "i am a i am an ai ", "我是一个AI作为AI"],
)
def test_a_hostile_text_is_read_in_one_way(part: str) -> None:
    assert not looks_like_refusal(part * 80)
