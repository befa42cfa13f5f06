#!/usr/bin/env python3
"""Write a corpus of one style for an adapter of the default model: letters, rhymes or pirates.

Usage: styles.py STYLE OUT.txt TEXTS SEED

Names, things and the template language ([a|b], {slot}) are those of storygen.py; all other phrases were written for this. The same
arguments always give the same file. Texts are plain ASCII, separated by a line holding <|endoftext|>.

A style is a list of beats, of each of which one line is used; a line "-" leaves its beat out, and "/" begins a new line. Some texts
of every style begin as ordinary stories do, so that the style holds whatever an answer has to begin with.
"""

import random
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from storygen import SEPARATOR, Story, capitalize, fix_articles, parse_beats, split_lines  # noqa: E402

SENTENCE_START = re.compile(r'((?:^|\n)"?|[a-z][.!?] "?|\." )([a-z])')


def choose(story, lines):
    line = story.rng.choice(lines)
    return "" if line == "-" else story.expand(line)


def finish(text):
    text = re.sub(r" *\n *", "\n", re.sub(" +", " ", fix_articles(text)))
    return SENTENCE_START.sub(lambda m: m[1] + m[2].upper(), text).strip()


# ---------------------------------------------------------------------------
# Letters: the hero {h} writes to somebody about a day
# ---------------------------------------------------------------------------

TO = """Grandma|Grandpa|Mom|Dad|Aunt {aunt}|Uncle {uncle}|{e}|{e}|Santa|Teacher""".split("|")
LETTER_OPENING = split_lines("""
    Dear {to},
    Dear {to},
    Dear {to},
    My dear {to},
    Dearest {to},
    Hello {to},
    Hi {to},
    Dear {to}, once upon a time you told me a story. Now I have one for you.
    Once upon a time you wrote me a letter, {to}. Now I write one to you.
    Once upon a time you asked me to write to you, dear {to}. Here is my letter.
    One day you asked me for a letter, dear {to}. Here it is.
""")
LETTER_GREETING = split_lines("""
    How are you? I am fine.
    How are you? I hope you are well.
    Thank you for your [last |kind |long ]letter. I read it [twice|three times|in bed].
    I miss you [very much|so much|a lot].
    I am writing to you {place_at}.
    It is raining here, so I have time to write to you.
    I have so much to tell you!
    You will not believe what happened [to me|today|this week].
    Mom says I must write to you, but I want to write anyway.
    I hope that your [cat|dog|garden|roof|knee] is better now.
    -
""")
LETTER_EVENTS = [split_lines(each) for each in """
    [Yesterday|On Monday|Last week|This morning] I lost my {toyadj} {at_place}. I looked {hiding}, but it was not there.
    I was so sad that I [cried|could not eat|could not sleep]. Then {f} came and helped me to look.
    And do you know where it was? It was in my own pocket! We laughed and laughed.

    [Yesterday|On Sunday|Last week|This morning] we went to {place}. We saw {sights} there.
    I ate {snack} and {f} fell into the [water|mud|grass]. I gave {f.him} my {color} {cloth}.
    On the way home we sang all the songs you taught me.

    [Yesterday|On Friday|Last night] I found a little {pet} {at_place}. It was [cold|hungry|all alone].
    I gave it some [milk|bread|water] and made it a bed out of my {color} {cloth}.
    Now it sleeps beside my bed. I call it {petname}. May I keep it? Please say yes!

    [Yesterday|On Tuesday|Last week] I baked a cake all by myself. I forgot the sugar!
    Dad ate two pieces and said that it was very good. I think he was being kind.
    Next time I will make it with you, and we will not forget the sugar.

    [Last night|On Saturday] there was a big storm. The wind blew, and the [door|window] went bang!
    I was a little {scared}, but I did not cry. {f} held my hand.
    In the morning a tree lay across the road, and we all [climbed|sat|played] on it.

    [Yesterday|On Wednesday|This week] I learned to [swim|ride a bike|whistle|tie my shoes|skate]. At first I fell and fell.
    Then {f} said, "Try it once more." And I did it!
    I cannot wait to show you. You will be {proud} of me.

    [Today|Yesterday|On Thursday] I had a fight with {f}. {f.He} broke my {toyadj}, and I shouted.
    Later {f.he} came to our door with {f.his} own {toyadj} and said, "I am sorry. You can have mine."
    I said that I was sorry too. Now we are friends again, and we share it.

    [This week|Last week|In spring] I planted some seeds in a pot, as you told me. Every day I gave them water.
    For a long time there was nothing. Then, this morning, I saw one tiny green leaf!
    I ran and told everybody. When it is big I will bring it to you.
""".strip().split("\n\n")]
LETTER_ASKING = split_lines("""
    When will you come to see us?
    Please write back [soon|to me soon|very soon].
    What are you doing [today|this summer|all day]?
    Please give a [kiss|hug] to [everyone|the cat|the dog] from me.
    I am sending you a {trinket} with this letter. I hope you like it.
    I made a picture for you. It is {place} with {sights}.
    Come to visit us in [spring|summer|winter], and bring your {cloth}.
    Do you have {snack} too where you are?
    P.S. is what you write when you forgot something. I did not forget anything.
""")
LETTER_CLOSING = split_lines("""
    Love,/{h}
    Love,/{h}
    With love,/{h}
    Lots of love,/{h}
    Your friend,/{h}
    Yours,/{h}
    With a big hug,/{h}
    Love and kisses,/{h}
    Your {h}
    Love,/{h}//P.S. {ps}
    Love from/{h}//P.S. {ps}
""")
LETTER_PS = ["Please send {snack}.", "I lost a tooth!", "{F} says hello.", "The cat says hello too.", "Do not tell Mom.", "I can count to one hundred now.",
             "Write soon!", "I am wearing the {color} {cloth} you made."]


def letter(rng):
    s = Story(rng)
    s.hero("child")
    s.friend()
    s.friend("e")
    s.place()
    s.toy()
    s.set(aunt=["Rosa", "Kate", "Ida", "May"], uncle=["Bob", "Joe", "Max", "Fred"], pet=["cat", "dog", "bird", "frog", "mouse", "hedgehog"],
          petname=["Button", "Misty", "Socks", "Pip", "Pepper", "Dot"], ps=LETTER_PS)
    s.set(to=TO, place_at=s.slots["at_place"])
    event = [s.expand(line) for line in rng.choice(LETTER_EVENTS)]
    body = " ".join([choose(s, LETTER_GREETING), *event])
    more = [choose(s, LETTER_ASKING) for _ in range(rng.randint(1, 2))]
    return f"{choose(s, LETTER_OPENING)}\n\n{body}\n\n{' '.join(dict.fromkeys(more))}\n\n{choose(s, LETTER_CLOSING)}".replace("/", "\n")


# ---------------------------------------------------------------------------
# Rhymes: couplets about an animal or a child
# ---------------------------------------------------------------------------

RHYME_BEATS = parse_beats("""
    Once upon a time, when the day was new,/a {k} sat down in the morning dew.
    Once upon a time, and far away,/a little {k} went out to play.
    Once upon a time, in a tiny town,/there lived a {k} all dressed in brown.
    Once upon a time, by the deep blue sea,/there was a {k} as glad as could be.
    A little {k} woke up one day/and ran into the sun to play.
    The little {k} sat in the sun/and said, "Today we will have fun!"
    There was a {k}, so small, so small,/who lived behind a garden wall.
    Down by the river, under a tree,/a {k} was drinking a cup of tea.
    The {k} put on a coat of red/and a yellow hat on top of its head.
    Hush, little {k}, do not cry,/the moon is climbing up the sky.
    Said the {k} to the {j}, "Good day!/Will you come out with me to play?"
    A {k} and a {j} went down the lane/under an umbrella in the rain.
    One day a {k} looked out to see/who was knocking, one, two, three.
    One day a {k} went up the hill/where all the world was soft and still.

    It hopped along on little feet/and looked for something good to eat.
    It sang a song, it danced around,/it found a penny on the ground.
    It met a {j} along the way/who had a lot of things to say.
    "Come here," it said, "and sit with me,/and we will have some cake and tea."
    The wind blew high, the wind blew low,/and whispered softly, "Time to go."
    The sun was warm, the grass was green,/the nicest day you have ever seen.

    It had a drum, it had a bell,/it had a silver ring as well.
    It looked up high, it looked down low,/it did not know which way to go.
    It climbed a tree, it climbed a wall,/it was not scared of that at all.
    Along the road the {j} came by/and pointed at the evening sky.
    A bee flew by, a bee flew past,/and no one ever flew so fast.
    The rain came down on roof and tree,/and it was wet as wet could be.
    The stars came out, the night was near,/the moon was round, the sky was clear.
    -

    "Oh dear," it said, "I lost my shoe!/Whatever am I going to do?"
    "Oh dear," it said, "I lost my hat!/Now who would take a thing like that?"
    "Oh my," it said, "I see a light!/Somebody is awake tonight."
    "Oh my," it said, "I hear a sound!/There's someone walking on the ground."
    It built a boat, it built it well,/and on the boat it hung a bell.
    It baked a pie, it baked a bun,/and gave a piece to everyone.
    It called the {j}, it called the cat,/and on a big round stone they sat.

    They looked in here, they looked in there,/they looked for it most everywhere.
    They laughed and sang the whole day long/and made a funny little song.
    They went to sea, they went to land,/they wrote their names into the sand.
    They ran so fast, they ran so far,/they nearly caught a falling star.
    And then a {j} came down the hill/and said, "I'll help you. Yes, I will!"
    And all the birds up in the tree/sang, "Come and fly along with me!"

    They found a box, they found a key,/and what was in it? Come and see!
    They shared the honey, shared the bread,/and "This is good," the {k} said.
    The road was long, the hill was steep,/and one of them fell fast asleep.
    The pot was hot, the soup was done,/and there was soup for everyone.
    -
    -

    And when the day was nearly through,/the sky turned red, the sky turned blue.
    And when the moon was shining bright,/they waved and said a soft good night.
    "Thank you," it said, "my friend so dear,/I am so happy you are here."
    So they went home and shut the door/and laughed until they could no more.

    And that is all, my story's done,/good night, good night to everyone.
    And if you ever pass that way,/you still can see them dance and play.
    So close your eyes and go to bed,/with happy dreams inside your head.
    And now it's time to say goodbye,/the stars are shining in the sky.
    And so they lived, the big, the small,/and had the nicest time of all.
""")
RHYME_ANIMALS = "fox bear mouse cat dog frog duck goat pig owl bee hen lamb snail mole crow deer wren toad goose".split()


def rhyme(rng):
    s = Story(rng)
    k, j = rng.sample(RHYME_ANIMALS, 2)
    s.set(k=k, j=j)
    parts = [choose(s, lines) for _, lines in RHYME_BEATS]
    couplets = [part.split("/") for part in parts if part]
    lines = ["\n".join(capitalize(line) for line in couplet) for couplet in couplets]
    return "\n\n".join("\n".join(lines[i:i + 2]) for i in range(0, len(lines), 2))


# ---------------------------------------------------------------------------
# Pirates: Captain {h}, the ship {ship} and the parrot {p}
# ---------------------------------------------------------------------------

PIRATE_OPENING = split_lines("""
    Captain {h} was the [bravest|loudest|kindest|funniest] pirate on the seven seas.
    Captain {h} stood on the deck of the {ship} and looked out over the waves.
    Captain {h} sailed the seven seas on a ship called the {ship}.
    "Ahoy!" called Captain {h} from the deck of the {ship}.
    "Arr!" said Captain {h}. "A fine wind for sailing!"
    The {ship} was a pirate ship with [black|red|patched] sails and a very loud parrot.
    The pirate ship {ship} lay in the harbor, and Captain {h} was counting {his} gold.
    Far out on the salty sea sailed the {ship}, the ship of Captain {h}.
    Once upon a time there was a pirate named Captain {h}, who sailed on the {ship}.
    Once upon a time, far out at sea, Captain {h} and {his} pirates sailed the {ship}.
    Once upon a time, a pirate ship called the {ship} came into a quiet bay.
    One day, Captain {h} the pirate sat on a barrel of fish and looked at the sea.
    One day, the pirates of the {ship} saw a strange island.
""")
PIRATE_CREW = split_lines("""
    On {his} shoulder sat {p}, a green parrot who said "Ahoy!" all day long.
    {His} parrot {p} could [sing|count to ten|smell treasure|talk] and loved to eat biscuits.
    {He} had a wooden leg, a {color} hat and a parrot named {p}.
    {He} had a [long beard|patch on one eye|gold tooth|ring in one ear], and {his} parrot was called {p}.
    There were ten pirates on board, a cook, and a parrot named {p}.
    {His} crew loved {him}, for {he} always shared the last biscuit.
""")
PIRATE_PLOTS = [split_lines(each) for each in """
    That morning, a bottle came floating by. In the bottle was an old map with a red cross! "Treasure!" shouted {p}.
    They sailed for [three|five|seven] days and [three|five|seven] nights, over waves as high as houses, until they came to an island with [one tall palm tree|a rock like a tooth|white sand].
    The pirates dug and dug under the [palm tree|big rock|red cross]. Clang! There was a chest with a rusty lock.
    But it was not gold that was in the chest. It was full of [old hats|seeds|toys|books|biscuits]! The captain laughed so loudly that the gulls flew away.
    "Arr, that is a better treasure than gold," said Captain {h}, and gave some to every pirate.

    In the night a storm came up. Thunder rolled, the sails cracked, and the {ship} danced on the waves like a cork. "Hold on to the ropes, mates!" cried Captain {h}.
    A big wave washed over the deck and took the captain's {color} hat with it. {p} flew after it, right into the wind!
    Nobody saw {p} for a long time. "Come back, old bird!" the captain called, and {his} voice shook.
    In the morning the sea was still. And there came {p}, wet and tired, with the hat in {p_his} beak.
    "Three cheers for {p}!" shouted the pirates. From that day on, the parrot had a little hat of {p_his} own.

    "Ship ahoy!" cried {p} from the top of the mast. It was the ship of Captain [Black|Red|Iron] {c}, who took gold from everyone.
    "Give me your treasure, or I will sink your ship!" the other captain shouted. The pirates of the {ship} got their [brooms|spoons|pots|fish] ready.
    But Captain {h} had an idea. "Come on board," {he} said, "and eat with us. Our cook has made fish soup."
    They ate, and they sang songs of the sea, and nobody thought of fighting any more.
    "Arr, I never had friends before," said Captain {c}. And the two ships sailed on side by side.

    All at once the {ship} stopped, though the wind blew hard. "We are on a rock!" cried the cook. But the rock had an eye. It was a whale!
    The poor whale had a [net|rope|chain] around its tail and could not swim. "Quick, mates, bring the knives!" said Captain {h}.
    The captain jumped into the cold water and cut and cut until the whale was free.
    The whale blew water high into the air. Then it took the {ship} on its back and carried it across the sea.
    Since then, whenever the wind is gone, Captain {h} knocks on the deck three times, and the whale comes to push.

    There was no wind for [six|eight|ten] days. The sails hung down, and there was only one biscuit left. "I am hungry," said every pirate at once.
    "Then we shall row," said Captain {h}, and took the first oar. They sang as they rowed: "Yo ho, yo ho, and away we go!"
    At last {p} saw land. It was an island full of [bananas|coconuts|mangoes|goats].
    The pirates ate until their belts were too small. Then they filled all the barrels for the way home.
    "A good captain rows too," said the cook. And Captain {h} fell asleep on the warm sand.
""".strip().split("\n\n")]
PIRATE_CLOSING = split_lines("""
    Then they raised the anchor and sailed away into the sunset. Yo ho!
    And the {ship} sailed on, over the wide blue sea.
    "Arr," said {p}, and that was the end of it.
    And if you listen at the shore, you can still hear them sing, "Yo ho, yo ho!"
    "Set the sails, mates!" cried Captain {h}. "There are more islands to find!"
    -
""")


def pirates(rng):
    s = Story(rng)
    s.hero("child")
    hero = s.slots["h"]
    s.set(ship=["Salty Star", "Black Gull", "Merry Crab", "Silver Whale", "Golden Shark", "Jolly Turtle", "Sea Fox", "Red Lobster"],
          p=["Polly", "Coco", "Captain Beak", "Pepper", "Biscuit", "Kiwi", "Mango"], p_his=["his", "her"],
          c=[n for n in ("Bart", "Bess", "Morgan", "Jack", "Anne", "Silver", "Flint") if n != hero.name])
    parts = [s.expand(line) for line in rng.choice(PIRATE_PLOTS)]
    head = " ".join([choose(s, PIRATE_OPENING), choose(s, PIRATE_CREW)])
    tail = " ".join([parts[4], choose(s, PIRATE_CLOSING)])
    return "\n\n".join([head, " ".join(parts[:2]), " ".join(parts[2:4]), tail])


STYLES = {"letters": letter, "rhymes": rhyme, "pirates": pirates}


def texts(style, count, seed):
    rng = random.Random(f"{style} {seed}")
    return [finish(STYLES[style](rng)) for _ in range(count)]


def main():
    if len(sys.argv) != 5 or sys.argv[1] not in STYLES:
        sys.exit(__doc__)
    style, path, count, seed = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    with open(path, "w", encoding="ascii", newline="\n") as out:
        out.write(SEPARATOR.join(texts(style, count, seed)) + "\n")


if __name__ == "__main__":
    main()
