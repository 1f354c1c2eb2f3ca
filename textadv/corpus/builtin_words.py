"""Words of the built-in corpus: data only. Of each polarity pair the first list is negative, the second positive.

Within a list the order is the rank: earlier words are drawn more often (Zipf).
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Domain:
    """What reviews of one kind of thing talk about.

    Attributes:
        things: Names of the reviewed thing itself.
        nouns: Its aspects.
        done: Participles that an adverb of quality can describe.
        adjectives: Negative and positive adjectives found in this domain only.
        facts: Neutral sentences, with slots in braces.
    """

    things: tuple[str, ...]
    nouns: tuple[str, ...]
    done: tuple[str, ...]
    adjectives: tuple[tuple[str, ...], tuple[str, ...]]
    facts: tuple[str, ...]


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


def _phrases(text: str) -> tuple[str, ...]:
    return tuple(" ".join(phrase.split()) for phrase in text.split(","))


DOMAINS = (
    Domain(  # films
        _words("film movie thriller drama comedy sequel"),
        _words("""acting plot script camera photography casting ending dialogue pacing direction lighting costume
        cast"""),
        _words("acted shot directed staged edited filmed"),
        (
            _words("""wooden stilted predictable plodding muddled overacted hammy contrived melodramatic incoherent
            miscast overlong corny formulaic sappy derivative amateurish choppy lifeless murky"""),
            _words("""gripping suspenseful atmospheric captivating luminous cinematic nuanced tender bittersweet
            magnetic electrifying understated taut evocative soulful stylish poignant mesmerizing sumptuous
            lifelike"""),
        ),
        (
            "it is set in {place} and follows a {job} named {name}",
            "{name} plays the {job} and {name} the {job}",
            "{name} directed it after two documentaries about {place}",
            "we saw it {when} at the cinema in {place}",
            "the second act moves from {place} to {place}",
            "there is a {plain} scene with a {job} on a bridge",
        ),
    ),
    Domain(  # books
        _words("novel book memoir biography paperback story"),
        _words("""prose narrator chapter chronology subplot characterization premise epilogue translation voice opening
        style"""),
        _words("written plotted researched translated narrated structured"),
        (
            _words("""turgid verbose rambling pretentious overwritten impenetrable stodgy preachy pedantic wordy florid
            aimless ponderous convoluted bloodless humourless didactic longwinded meandering cliched"""),
            _words("""absorbing lyrical insightful perceptive eloquent layered vivid literate compassionate thoughtful
            intricate unputdownable riveting elegiac limpid wry humane finespun textured erudite"""),
        ),
        (
            "it tells of a {job} who leaves {place} for {place}",
            "{name} wrote it over eleven years in {place}",
            "i borrowed it from {name}, a {job}, {when}",
            "the copy has three hundred pages and a {plain} cover",
            "the tale begins with a letter from {name} to a {job}",
            "my reading group in {place} picked it {when}",
        ),
    ),
    Domain(  # music
        _words("album record single concert recording song"),
        _words("""melody rhythm singing chorus production bass drumming harmony guitar lyric arrangement mix
        percussion"""),
        _words("sung recorded mixed played arranged produced"),
        (
            _words("""shrill monotonous tuneless grating droning discordant tinny whiny overproduced screechy muffled
            abrasive hollow soulless offkey cacophonous strident flabby plastic atonal"""),
            _words("""melodic catchy infectious soaring harmonious lush groovy resonant hypnotic rousing jubilant
            velvety shimmering polished tuneful sonorous funky dreamy buoyant crystalline"""),
        ),
        (
            "{name} plays the piano and {name} sings",
            "it was recorded {when} in a {plain} barn near {place}",
            "there are eleven tracks and one of them is about {place}",
            "a {job} from {place} plays the cello on the fourth track",
            "{name} toured with it from {place} to {place}",
            "i heard it {when} on the radio with {who}",
        ),
    ),
    Domain(  # restaurants
        _words("restaurant bistro meal dinner lunch diner"),
        _words("soup pasta fish dessert sauce bread steak salad curry pizza starter menu waiter"),
        _words("cooked seasoned served baked grilled presented"),
        (
            _words("""bland soggy greasy stale overcooked undercooked rubbery tasteless burnt watery rancid lukewarm
            inedible oversalted gristly mushy unappetizing sour curdled charred"""),
            _words("""delicious tasty fresh succulent juicy crisp fragrant mouthwatering flavourful aromatic appetizing
            zesty savoury buttery scrumptious moist wholesome piquant luscious toothsome"""),
        ),
        (
            "we had a table for four by the window {when}",
            "the place is run by {name}, a former {job}",
            "i ordered the soup and {who} had the fish",
            "{name} moved the kitchen here from {place}",
            "it stands on the {plain} street that leads to {place}",
            "a {job} named {name} took our order",
        ),
    ),
    Domain(  # hotels
        _words("hotel hostel guesthouse room suite inn"),
        _words("lobby bathroom bed breakfast reception carpet balcony shower pool pillow corridor terrace concierge"),
        _words("furnished cleaned decorated maintained heated managed"),
        (
            _words("""filthy noisy cramped dingy smelly shabby mouldy draughty grimy damp musty rundown dilapidated
            threadbare unhygienic surly infested stained airless inhospitable"""),
            _words("""comfortable spotless cosy spacious welcoming airy luxurious immaculate tranquil hospitable restful
            gleaming homely sunlit secluded attentive plush serene pristine palatial"""),
        ),
        (
            "we stayed two nights {when} with {who}",
            "our window looked out on the {plain} road to {place}",
            "{name} at the desk gave us a map of {place}",
            "it is a ten minute walk from the station of {place}",
            "we booked it through {name}, a {job}",
            "the building was once the house of a {job} from {place}",
        ),
    ),
    Domain(  # gadgets
        _words("phone laptop headset printer device kettle"),
        _words("screen battery keyboard charger casing software button hinge speaker sensor cable display manual"),
        _words("designed assembled packaged engineered documented calibrated"),
        (
            _words("""flimsy unreliable buggy clunky faulty sluggish defective brittle glitchy unresponsive fiddly
            shoddy bulky overheated obsolete laggy inaccurate leaky wobbly cumbersome"""),
            _words("""reliable sturdy responsive intuitive durable sleek handy efficient versatile speedy robust
            ergonomic lightweight accurate quiet seamless foolproof streamlined powerful nimble"""),
        ),
        (
            "i bought it {when} from a shop in {place}",
            "it came with a {plain} cable and a card from {name}",
            "{who} has the older model from {place}",
            "i use it at work as a {job} and at home",
            "{name} from support in {place} wrote to me {when}",
            "it replaced the one that {name} left in {place}",
        ),
    ),
    Domain(  # games
        _words("game puzzler simulator expansion remake platformer"),
        _words("""combat level tutorial gameplay controller multiplayer quest boss soundtrack interface difficulty
        map"""),
        _words("animated programmed paced rendered voiced optimized"),
        (
            _words("""repetitive unbalanced frustrating unfair clumsy grindy unplayable janky simplistic shallow
            pointless punishing tiresome broken laboured pixelated cheap exploitative barren unfinished"""),
            _words("""addictive immersive challenging inventive rewarding replayable strategic balanced exhilarating
            fluid playful adventurous thrilling imaginative colourful ingenious kinetic expansive competitive
            fastpaced"""),
        ),
        (
            "you play a {job} named {name} who walks to {place}",
            "{who} and i played it {when} until midnight",
            "the third stage takes place under the {plain} towers of {place}",
            "it was made by two people from {place}",
            "{name} gives you a key and a map of {place}",
            "i reached stage nine with the {job} and stopped {when}",
        ),
    ),
    Domain(  # trips
        _words("tour excursion cruise safari hike museum"),
        _words("guide itinerary scenery bus harbour exhibition trail commentary ferry viewpoint timetable group"),
        _words("organized planned guided explained scheduled signposted"),
        (
            _words("""overpriced overcrowded rushed disorganized chaotic touristy exhausting gruelling unsafe bumpy
            misleading uninformative sweltering garish perilous polluted dusty haphazard muddy rainswept"""),
            _words("""informative breathtaking picturesque scenic unforgettable spectacular enlightening panoramic
            educational knowledgeable stimulating majestic unhurried idyllic enriching quaint sunny safe romantic
            punctual"""),
        ),
        (
            "we left {place} {when} and reached {place} by noon",
            "{name} met us at the harbour of {place}",
            "there were nine of us and a {job} from {place}",
            "the road runs past the {plain} mill of {place}",
            "we went {when} with {who}",
            "a {job} named {name} sold us the tickets",
        ),
    ),
)

ADJECTIVES = (
    _words("""bad poor terrible awful boring dull disappointing horrible weak dreadful annoying mediocre tedious ugly
    unpleasant lousy pathetic irritating forgettable dismal stupid lame worthless ridiculous sloppy miserable inferior
    depressing awkward dreary tiring silly useless uninspired underwhelming atrocious abysmal appalling ghastly
    unbearable insufferable laughable careless joyless pitiful wretched horrid drab lacklustre unimpressive substandard
    deplorable hideous hopeless insipid vapid offensive obnoxious repulsive disgusting tacky crude inept incompetent
    unsatisfying disagreeable regrettable embarrassing shameful lamentable cringeworthy nasty foul rotten grim bleak
    gloomy vile loathsome odious execrable inexcusable unforgivable infuriating exasperating maddening dispiriting
    underdeveloped unremarkable pedestrian hackneyed trite banal feeble dire unwelcome"""),
    _words("""good great excellent wonderful lovely nice fantastic enjoyable superb impressive brilliant charming
    beautiful perfect amazing pleasant delightful terrific fun outstanding memorable satisfying splendid marvellous
    remarkable solid fine engaging clever exceptional stunning worthwhile fabulous magnificent pleasing refreshing
    likeable graceful genuine admirable exquisite inspired dazzling sublime stellar glorious joyful heartwarming
    masterful flawless uplifting generous elegant phenomenal radiant endearing accomplished faultless commendable
    heavenly praiseworthy superlative sensational invigorating incredible astonishing winning smart cheerful peerless
    matchless gratifying enchanting adorable exemplary triumphant irresistible tasteful sparkling wondrous laudable
    divine bewitching dependable sterling transcendent effervescent spirited warm felicitous ravishing superior
    spellbinding charismatic meritorious"""),
)

PREDICATES = (  # after "was"
    _phrases("""below par, worse than expected, all over the place, full of holes, hard to stomach, beyond repair,
    past saving, beneath contempt, short on ideas, a step backwards, rough around the edges, in need of rescue,
    a shadow of its former self, enough to make me wince, half baked, out of its depth, lost in the fog,
    hard to forgive, a pain to sit through, less than the sum of its parts"""),
    _phrases("""worth every penny, better than expected, out of this world, full of life, second to none, a cut above,
    beyond praise, rich in detail, a step forward, brimming with ideas, top of its class, in a league of its own,
    enough to make me cheer, a sight to behold, spot on, a cause for cheer, hard to fault, easy to love,
    ahead of its time, more than the sum of its parts"""),
)

ADVERBS = (
    _words("""poorly badly carelessly clumsily sloppily hastily lazily terribly awkwardly dreadfully ineptly crudely
    shoddily abysmally haphazardly amateurishly horribly miserably lamely pitifully woefully appallingly boringly
    tediously pathetically ridiculously stupidly painfully shamefully needlessly unfairly unpleasantly atrociously
    disgracefully mindlessly thoughtlessly unconvincingly wretchedly feebly foolishly hideously ludicrously negligently
    abominably gracelessly"""),
    _words("""beautifully brilliantly expertly skilfully lovingly superbly cleverly elegantly wonderfully masterfully
    gracefully flawlessly perfectly impeccably carefully tastefully exquisitely deftly admirably splendidly delicately
    faultlessly charmingly delightfully neatly thoughtfully imaginatively magnificently marvellously meticulously
    ingeniously stylishly stunningly smartly warmly handsomely competently ably adeptly artfully gloriously sensitively
    soundly diligently excellently"""),
)

LABELS = (  # after "a"
    _phrases("""disaster, waste, letdown, mess, failure, disappointment, bore, nightmare, ripoff, chore, flop, dud,
    travesty, fiasco, disgrace, shambles, mistake, farce, eyesore, misfire, catastrophe, mockery, blunder, headache,
    washout, slap in the face, missed opportunity, lost cause, damp squib, crying shame, dead end, debacle, nuisance,
    swindle, horror, embarrassment, turkey, plague, kick in the teeth, recipe for regret, abomination, sham"""),
    _phrases("""delight, treat, gem, joy, masterpiece, pleasure, success, triumph, treasure, winner, marvel, wonder,
    bargain, blessing, knockout, revelation, highlight, classic, jewel, feast, godsend, charmer, favourite, tonic,
    sensation, breath of fresh air, labour of love, tour de force, stroke of genius, dream come true, beauty, hit,
    thrill, work of art, corker, boon, cause for celebration, stunner, inspiration, smash, pearl, paragon"""),
)

FEELINGS = (  # "i ... it"
    _words("""hated disliked regretted loathed detested despised resented endured dreaded condemned criticised
    abhorred"""),
    _words("""loved enjoyed adored admired appreciated relished treasured savoured cherished praised celebrated
    applauded"""),
)

VERDICTS = (
    _phrases("""it wasted my time, it fell flat, it left me cold, i want my money back, it tested my patience,
    we felt cheated, it bored me to tears, i asked for a refund, it missed the mark, stay away from it,
    it ruined our weekend, i nearly dozed off, it drove me up the wall, we were fuming, do not bother,
    it made me cringe, i gave up halfway, it collapsed under its own weight, we walked out, it insulted us all,
    i groaned throughout, it ran out of steam, i would warn anyone against it, we complained loudly,
    it squandered its promise, i shuddered at it, it outstayed its welcome, i threw it aside"""),
    _phrases("""it won me over, it made me smile, it exceeded my hopes, i cannot recommend it enough, we were hooked,
    it made our weekend, it took my breath away, we left beaming, it hit the mark, i grinned throughout,
    it earned every star, it lifted my spirits, do not miss it, it stayed with me for days, i was captivated,
    it deserves an award, we were spellbound, it flew by, i would return in a heartbeat, it touched us all,
    it delivered on its promise, i was moved to tears of joy, we cheered aloud, it felt like a gift,
    i would urge anyone to try it, we thanked them twice, it brightened my month, i marvelled at it"""),
)

PLAIN = _words("""long short narrow old new grey wide small large brown square round tall yellow northern white empty
modern second green stone iron local eastern southern blue folded striped""")
JOBS = _words("""teacher baker sailor farmer nurse lawyer painter clerk soldier plumber gardener tailor fisherman
postman librarian detective pilot student barber miner chemist carpenter waitress professor widow mechanic shepherd
surgeon journalist locksmith accountant beekeeper cartographer glazier notary blacksmith""")
COMPANIONS = _phrases("""my sister, my brother, a friend, my wife, my husband, my parents, two colleagues, my cousin,
our children, a neighbour, my uncle, the whole family, my flatmate, an old classmate, my aunt, my nephew, three friends,
my grandmother""")
TIMES = _phrases("""last week, on a Monday, in March, yesterday, on a Friday, in the evening, last summer, in October,
on a Tuesday, two weeks ago, last winter, in the morning, on Sunday, in early June, a month ago, over the holidays,
on a Wednesday, last spring, in late November, after work, before lunch, on Saturday, at Easter, around midday""")
REMARKS = (  # neutral sentences of any domain
    "i read about it {when} in a note by {name}",
    "{name} told me about it {when}",
    "{who} picked it out {when}",
    "this was the first {thing} from {place} that i have tried",
    "{name} and {name} were there as well",
    "it was {when}, and i was with {who}",
    "i had never heard of {name} before",
    "there is another {thing} by {name} in {place}",
    "the {noun} is the work of {name}",
    "{who} asked me to write about the {noun}",
    "i know the {noun} from {place}",
    "we talked about the {noun} and the {noun} with a {job}",
)

# Invented names are a start, a middle and an end.
PEOPLE = (
    _words("Ar Bel Cor Dal El Fen Gar Hal Is Jor Kel Lor Mar Nor Or Pel Quin Ros Sel Tor Ul Var Wil Yor Zan"),
    _words("a e i o an en il or as u"),
    _words("da lin ric na mond tha vel ssa bert ko"),
)
PLACES = (
    _words("Ash Brin Crow Dun Elm Fal Grim Hol Iver Kings Low Mor Nether Oak Pen Raven Stan Thorn Up Win"),
    _words("en er o in es al"),
    _words("ford ton wick dale mere port stead by"),
)
