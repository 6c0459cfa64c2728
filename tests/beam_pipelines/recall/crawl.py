"""A small crawl with a known truth: sites in English and Chinese, about programs or not.

English pages about programs are what packages of this environment say of themselves; the
others are their licences. Chinese pages are put together from sentences, eight a page. So
there are four kinds of pages, and a site may have several of them under different paths.
"""

import hashlib
import itertools
import random
import re
from collections.abc import Iterable, Iterator, Sequence
from importlib import metadata
from pathlib import Path

from opencoder_jax.formats.document import Document, decode_document, document_id, encode_document
from opencoder_jax.formats.manifest import write_manifest
from opencoder_jax.formats.shards import read_records, shard_name, write_shard

_CODE_ZH = """
这个函数接收一个列表，并返回其中所有偶数的平方。
在循环中修改字典会引发异常，应当先复制它的键。
编译器会在链接阶段报告未定义的符号。
调用接口之前要先检查返回的状态码是否为二百。
数据库的索引可以加快查询，但会减慢插入的速度。
线程之间共享变量时必须加锁，否则会出现竞态条件。
该类继承自抽象基类，并重写了两个虚方法。
使用正则表达式可以从日志文件中提取时间戳。
单元测试应当覆盖边界条件和异常分支。
服务器把请求放入队列，由工作进程异步处理。
递归函数必须有终止条件，否则会导致栈溢出。
用命令行参数指定配置文件的路径和端口号。
指针在释放之后不能再次使用，否则程序会崩溃。
版本控制系统记录每次提交对源代码的修改。
解析器把源代码转换为抽象语法树。
哈希表的平均查找时间复杂度为常数。
变量的作用域决定了它在哪些代码块中可见。
缓存失效之后，程序会重新从磁盘读取数据。
模块导入失败时，请检查环境变量和安装路径。
排序算法的时间复杂度取决于比较的次数。
内存泄漏可以用性能分析工具来定位。
接口文档说明了每个参数的类型和默认值。
该脚本批量重命名目录下的所有文件。
容器镜像包含运行程序所需的全部依赖。
事务提交失败时，数据库会自动回滚所有操作。
浏览器通过套接字与后端服务器建立连接。
泛型允许同一个函数处理不同类型的参数。
调试器可以在断点处暂停程序并查看变量的值。
字符串在内存中以字节数组的形式存储。
编写代码时应避免在构造函数中调用虚函数。
"""
_OTHER_ZH = """
把鸡蛋打散，加入少许盐和葱花，用小火慢慢煎熟。
春天的时候，山坡上开满了黄色的野花。
他年轻时离开家乡，到南方的城市学习绘画。
这道汤要炖两个小时，肉才会又软又香。
村里的老人常在傍晚坐在大树下聊天。
比赛在下午三点开始，球迷早早来到了体育场。
古城的城墙建于明代，至今保存完好。
她每天早上沿着河边跑步，然后去市场买菜。
今年的雨水充足，稻谷的收成比去年好得多。
博物馆展出了一百多件唐代的瓷器。
从火车站步行十分钟就可以到达海边的旅馆。
小说讲述了一个家庭三代人的命运。
医生建议他多休息，少吃油腻的食物。
茶叶要用八十度的水冲泡，才能保留香味。
孩子们在院子里放风筝，笑声传得很远。
音乐会的门票在一小时之内全部售完。
冬天的湖面结了厚厚的冰，可以在上面滑行。
这家餐馆的招牌菜是清蒸鲈鱼和红烧豆腐。
候鸟每年秋天飞往温暖的南方过冬。
电影的导演用黑白画面表现了战争年代。
面团发酵之后要再揉一次，然后放进烤箱。
节日期间，街道两旁挂满了红色的灯笼。
登山队在凌晨出发，中午时分到达了山顶。
他收藏了许多旧邮票和上世纪的明信片。
果园里的苹果熟了，工人们忙着采摘装箱。
这座桥横跨两岸，方便了居民的往来。
画家用水彩描绘了清晨薄雾中的渔村。
老师带领学生参观了当地的历史遗址。
天气预报说明天有大风，请注意保暖。
奶奶教我用竹叶包粽子，味道清香可口。
"""
_LEAST_PROSE = 300


def english_code() -> list[str]:
    """What packages say of themselves, by name."""
    texts = {}
    for package in metadata.distributions():
        text = package.metadata.get_payload() or package.metadata.get("Description") or ""
        if isinstance(text, str) and len(text) > _LEAST_PROSE and ("```" in text or ">>>" in text):
            texts[package.name.lower()] = text[:6000]
    return [texts[name] for name in sorted(texts)]


def english_other() -> list[str]:
    """Paragraphs of licences, three a page."""
    paragraphs = set()
    for package in metadata.distributions():
        for file in package.files or ():
            if re.match(r"(licen[cs]e|notice|copying)", file.name.lower()):
                path = Path(str(file.locate()))
                if path.is_file() and path.stat().st_size < 200_000:
                    text = path.read_text(encoding="utf-8", errors="ignore")
                    paragraphs.update(p for p in re.split(r"\n\s*\n", text) if len(p) > 200)
    ordered = sorted(paragraphs, key=lambda text: hashlib.sha256(text.encode()).digest())
    return ["\n\n".join(ordered[i : i + 3]) for i in range(0, len(ordered) - 2, 3)]


def chinese(sentences: Sequence[str], pages: int, seed: int) -> list[str]:
    rng = random.Random(seed)
    return ["".join(rng.sample(sentences, 8)) for _ in range(pages)]


def chinese_code(pages: int, seed: int = 0) -> list[str]:
    return chinese(_CODE_ZH.split(), pages, seed)


def chinese_other(pages: int, seed: int = 0) -> list[str]:
    return chinese(_OTHER_ZH.split(), pages, seed)


def page(url: str, text: str) -> Document:
    host = url.split("/")[2].removeprefix("www.")
    return Document(
        id=document_id("web-page", host, url),
        text=text,
        repo=host,
        path=url,
        language="markdown",
        doc_type="text",
        provenance="web-page",
    )


def pages(beginning: str, texts: Iterable[str]) -> list[Document]:
    """Pages whose urls are `beginning` and a number."""
    return [page(f"{beginning}{number}.html", text) for number, text in enumerate(texts)]


def planted() -> dict[str, list[Document]]:
    """Kind and place to pages.

    `seeds` and `handbook` are English and about programs; `handbook-zh` lies beside the
    latter and is Chinese, as is `elsewhere`, which no pattern names. `law` and `kitchen` are not
    wanted.
    """
    code, other = itertools.cycle(english_code()), itertools.cycle(english_other())

    def take(texts: Iterator[str], count: int) -> list[str]:
        return list(itertools.islice(texts, count))

    return {
        "seeds": pages("https://packages.example.org/p/", take(code, 60)),
        "handbook": pages("https://www.handbook.example.org/en/guide/", take(code, 20)),
        "handbook-zh": pages("https://www.handbook.example.org/zh/guide/", chinese_code(60, 1)),
        "elsewhere": pages("https://bbs.example.cn/thread/", chinese_code(12, 2)),
        "law": pages("https://law.example.com/text/", take(other, 120)),
        "kitchen": pages("https://kitchen.example.cn/", chinese_other(240, 3)),
    }


def write_pages(folder: Path, documents: Iterable[Document], num_shards: int = 2) -> Path:
    """A finished folder, as `beam_pipelines.web_pages` leaves it."""
    folder.mkdir(parents=True, exist_ok=True)
    encoded = [encode_document(d) for d in sorted(documents, key=lambda d: d.id)]
    for index in range(num_shards):
        name = shard_name("documents", index, num_shards)
        write_shard(folder / name, encoded[index::num_shards])
    write_manifest(folder, job="web_pages", config={}, inputs={}, counts={})
    return folder


def write_table(path: Path, rows: Iterable[tuple[str, str]], column: str = "url") -> Path:
    path.write_text(f"{column}\tlabel\n" + "".join(f"{key}\t{label}\n" for key, label in rows))
    return path


def recalled_urls(output: Path, number: int) -> set[str]:
    return {document.path for document in recalled(output, number)}


def recalled(output: Path, number: int) -> list[Document]:
    folder = output / f"round-{number}" / "recalled"
    return [decode_document(record) for record in read_records(folder, "documents")]
