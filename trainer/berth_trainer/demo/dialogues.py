"""Sample persona dialogues, written for this project and assembled from templates."""

# ruff: noqa: RUF001  # full-width punctuation is what Japanese and Chinese are written with

import random
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

Slots = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Phrases:
    """Templates of one language: question, answer and reply of each topic, and the personas."""

    greeting: tuple[str, str]
    farewell: tuple[str, str]
    topics: tuple[tuple[str, str, str], ...]
    persona: tuple[str, ...]
    people: tuple[Slots, ...]


def _people(keys: str, *rows: str) -> tuple[Slots, ...]:
    return tuple(dict(zip(keys.split(), row.split(), strict=True)) for row in rows)


_KEYS = "town job hobby food pet season drink"

JAPANESE = Phrases(
    greeting=("こんにちは、よろしくお願いします。", "こちらこそ、よろしくお願いします。"),
    farewell=("今日はお話しできて楽しかったです。", "私もです。ありがとうございました。"),
    topics=(
        ("どちらにお住まいですか？", "{town}に住んでいます。", "{town}ですか。私は{mine}です。"),
        ("お仕事は何をされていますか？", "{job}をしています。", "そうですか。私は{mine}です。"),
        (
            "休みの日は何をしていますか？",
            "よく{hobby}をしています。とても楽しいです。",
            "いいですね。私は{mine}が好きです。",
        ),
        (
            "好きな食べ物は何ですか？",
            "{food}が好きで、よく食べます。",
            "おいしいですよね。私は{mine}派です。",
        ),
        ("動物は好きですか？", "はい、家に{pet}がいます。", "かわいいですね。うちは{mine}です。"),
        (
            "どの季節が好きですか？",
            "{season}が一番好きです。",
            "わかります。私は{mine}が好きです。",
        ),
        ("朝は何を飲みますか？", "毎朝{drink}を飲みます。", "私は毎朝{mine}です。"),
    ),
    persona=(
        "私は{town}に住んでいる。",
        "私は{job}をしている。",
        "私の趣味は{hobby}である。",
        "私は{food}が好きである。",
        "私は{pet}を飼っている。",
        "私は{season}が一番好きだ。",
        "私は毎朝{drink}を飲む。",
    ),
    people=_people(
        _KEYS,
        "札幌 看護師 登山 味噌ラーメン 柴犬 冬 緑茶",
        "仙台 教師 釣り 牛タン 三毛猫 秋 紅茶",
        "金沢 学生 写真 寿司 金魚 春 牛乳",
        "名古屋 整備士 将棋 味噌カツ うさぎ 夏 コーヒー",
        "神戸 司書 読書 パン 文鳥 秋 カフェオレ",
        "広島 農家 園芸 お好み焼き 亀 春 麦茶",
        "福岡 料理人 サッカー うどん 黒猫 夏 水",
        "那覇 船員 水泳 そば インコ 夏 さんぴん茶",
    ),
)

CHINESE = Phrases(
    greeting=("你好。", "你好，很高兴认识你。"),
    farewell=("今天聊得很开心。", "我也是，下次再聊。"),
    topics=(
        ("你住在哪里？", "我住在{town}。", "原来是{town}。我住在{mine}。"),
        ("你做什么工作？", "我是{job}。", "真不错。我是{mine}。"),
        ("周末你喜欢做什么？", "我常常{hobby}，很有意思。", "我更喜欢{mine}。"),
        ("你喜欢吃什么？", "我最爱吃{food}。", "好吃。我爱吃{mine}。"),
        ("你养宠物吗？", "养，我家有一只{pet}。", "真可爱。我家有{mine}。"),
        ("你喜欢哪个季节？", "我最喜欢{season}。", "我喜欢{mine}。"),
        ("早上你喝什么？", "我每天早上喝{drink}。", "我喝{mine}。"),
    ),
    persona=(
        "住在{town}",
        "职业是{job}",
        "爱好是{hobby}",
        "最爱吃{food}",
        "养了一只{pet}",
        "最喜欢{season}",
        "每天早上喝{drink}",
    ),
    people=_people(
        _KEYS,
        "成都 护士 爬山 火锅 小狗 冬天 绿茶",
        "西安 老师 钓鱼 凉皮 花猫 秋天 红茶",
        "杭州 学生 拍照 小笼包 金鱼 春天 牛奶",
        "青岛 司机 下棋 饺子 兔子 夏天 咖啡",
        "昆明 厨师 看书 米线 鹦鹉 秋天 豆浆",
        "广州 农民 种花 烧鹅 乌龟 春天 凉茶",
    ),
)

_TOPIC_KEYS = ("town", "job", "hobby", "food", "pet", "season", "drink")


def persona(phrases: Phrases, person: int) -> list[str]:
    """Return the sentences that describe a person."""
    return [line.format(**phrases.people[person]) for line in phrases.persona]


def dialogues(
    phrases: Phrases, *, topics: int, rounds: int, seed: int
) -> list[tuple[int, int, list[str]]]:
    """
    Return `rounds` dialogues for each pair of people, as (asker, teller, lines in turn).

    The asker opens; each answer tells what the teller's persona says, each reply what the
    asker's own says, so that a model can learn persons from profile and history.
    """
    draw = random.Random(seed)  # noqa: S311  # the same sample on every machine
    found: list[tuple[int, int, list[str]]] = []
    for first, second in [*combinations(range(len(phrases.people)), 2)] * rounds:
        asker, teller = (first, second) if draw.random() < 0.5 else (second, first)
        lines = list(phrases.greeting)
        for topic in sorted(draw.sample(range(len(phrases.topics)), topics)):
            question, answer, reply = phrases.topics[topic]
            slots = phrases.people[teller]
            mine = phrases.people[asker][_TOPIC_KEYS[topic]]
            # The asker's reply and next question are one turn, so that speakers alternate.
            asked = question if len(lines) == 2 else f"{lines.pop()}{question}"
            lines += [asked, answer.format(**slots), reply.format(**slots, mine=mine)]
        lines[-1] += phrases.farewell[0]
        lines.append(phrases.farewell[1])
        found.append((asker, teller, lines))
    return found
