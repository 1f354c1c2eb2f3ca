"""English words that carry grammar rather than content; a substitution attack leaves them alone."""

_TEXT = """
a about above after again against all also am an and any are aren't as at be because been before being below between
both but by can can't cannot could couldn't did didn't do does doesn't doing don't down during each either else ever
every few for from further had hadn't has hasn't have haven't having he he'd he'll he's her here here's hers herself
him himself his how how's however i i'd i'll i'm i've if in into is isn't it it's its itself just let's me might more
most much must mustn't my myself neither never no nobody none nor not nothing nowhere of off on once only or other
ought our ours ourselves out over own same shall shan't she she'd she'll she's should shouldn't since so some such
than that that's the their theirs them themselves then there there's these they they'd they'll they're they've this
those though through to too under until up upon us very was wasn't we we'd we'll we're we've were weren't what what's
when when's where where's whether which while who who's whom why why's will with within without won't would wouldn't
yet you you'd you'll you're you've your yours yourself yourselves
"""
# Tokenizers that split at apostrophes make two words of "isn't".
STOP_WORDS = frozenset(part for word in _TEXT.split() for part in (word, *word.split("'")))
