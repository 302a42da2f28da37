"""Word lists: about eleven hundred everyday English words, inflected forms included.

Everything the corpus can say is spelled out here, so that "a closed vocabulary" is a fact and not an impression.
"""

NAMES = """Anna Ben Carla David Emma Frank Grace Henry Irene Jack Karen Leo Maria Nora Oscar Paul Rachel Sam Tina Victor
Walter Alice Bruno Clara Daniel Ella Felix Helen Ivan Julia Kevin Laura Martin Nina Oliver Peter Rosa Simon Thomas
Sarah John Mary Robert Linda Susan George Lucy Adam Eva Mark""".split()

PLACES = """London Paris Berlin Boston Madrid Vienna Oslo Dublin Chicago Texas Canada Spain Italy Japan France Germany
India Brazil""".split()

DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
MONTHS = "January February March April May June July August September October November December".split()

ONES = "one two three four five six seven eight nine".split()
TEENS = "ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen".split()
TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
ORDINALS = "first second third fourth fifth sixth seventh eighth ninth tenth".split()

# Countable things; the plural is regular unless IRREGULAR_PLURALS says otherwise.
OBJECTS = """answer apple bag ball bank bed bike bird boat book bottle bowl box bread bridge budget building bus button
cake camera car card cat chair city clock coat coffee computer contract cup customer date decision desk detail dinner
document dog door dress email engine event example farm field file fire fish floor flower form game garden gift glass
group guest hat hill home horse hotel hour house idea island job key kitchen lake lamp language law lesson letter library
light line list machine map market meal meeting message mile minute model month mountain movie museum name network
newspaper note number office orange order page paper park part party pen phone photo picture piece plan plane plant
plate pocket point poem price prize problem product program project question radio rain reason record report result
review river road room rule sample school screen season sentence server shirt shoe shop sister song sound stage star
station step stone store story street student subject summer table task teacher team test ticket town train tree trip
truck update valley version video village voice wall watch week wheel window winter word year""".split()

PEOPLE = """manager doctor friend brother sister teacher student neighbor driver child woman man person uncle mother
father boss lawyer engineer writer singer farmer nurse captain partner cousin daughter son""".split()

IRREGULAR_PLURALS = {"child": "children", "woman": "women", "man": "men", "person": "people", "fish": "fish",
                     "bread": "bread", "coffee": "coffee", "rain": "rain"}

MASS = """water milk tea money music time work weather food paper news traffic help sugar cheese rice advice energy
information snow space sleep""".split()

ADJECTIVES = """big small new old good bad long short early late easy hard nice great little large young happy sad quick
slow cold warm hot dark bright clean dirty full empty open quiet loud heavy strong weak rich poor cheap expensive free busy
ready simple difficult important different similar possible final main whole right wrong true strange funny serious tired
hungry angry careful beautiful wonderful terrible perfect famous popular local public private special strong blue green red
yellow black white brown gray wide narrow deep high low soft sweet fresh dry wet round flat sharp safe""".split()

ADVERBS = """quickly slowly really probably certainly maybe usually often sometimes never always already again soon
finally clearly carefully nearly almost suddenly together alone outside inside everywhere""".split()

# base, third person, past, -ing. Transitive verbs whose object may be any thing.
VERBS = [tuple(v.split("/")) for v in """add/adds/added/adding ask about/asks about/asked about/asking about
bring/brings/brought/bringing build/builds/built/building buy/buys/bought/buying call/calls/called/calling
carry/carries/carried/carrying change/changes/changed/changing check/checks/checked/checking
choose/chooses/chose/choosing clean/cleans/cleaned/cleaning close/closes/closed/closing
discuss/discusses/discussed/discussing draw/draws/drew/drawing explain/explains/explained/explaining
fill/fills/filled/filling find/finds/found/finding finish/finishes/finished/finishing fix/fixes/fixed/fixing
follow/follows/followed/following forget/forgets/forgot/forgetting get/gets/got/getting give/gives/gave/giving
hear/hears/heard/hearing hold/holds/held/holding keep/keeps/kept/keeping know/knows/knew/knowing
leave/leaves/left/leaving like/likes/liked/liking look at/looks at/looked at/looking at lose/loses/lost/losing
love/loves/loved/loving make/makes/made/making move/moves/moved/moving need/needs/needed/needing
open/opens/opened/opening order/orders/ordered/ordering paint/paints/painted/painting pay for/pays for/paid for/paying for
plan/plans/planned/planning print/prints/printed/printing pull/pulls/pulled/pulling push/pushes/pushed/pushing
put down/puts down/put down/putting down read/reads/read/reading remember/remembers/remembered/remembering
remove/removes/removed/removing repeat/repeats/repeated/repeating save/saves/saved/saving see/sees/saw/seeing
sell/sells/sold/selling send/sends/sent/sending share/shares/shared/sharing show/shows/showed/showing
start/starts/started/starting stop/stops/stopped/stopping study/studies/studied/studying take/takes/took/taking
talk about/talks about/talked about/talking about test/tests/tested/testing
think about/thinks about/thought about/thinking about throw/throws/threw/throwing touch/touches/touched/touching
try/tries/tried/trying turn on/turns on/turned on/turning on understand/understands/understood/understanding
use/uses/used/using visit/visits/visited/visiting wait for/waits for/waited for/waiting for want/wants/wanted/wanting
wash/washes/washed/washing write/writes/wrote/writing review/reviews/reviewed/reviewing
compare/compares/compared/comparing describe/describes/described/describing""".replace("\n", " ").replace(
    " about", "_about").replace(" at", "_at").replace(" for", "_for").replace(" down", "_down").replace(
    " on", "_on").split()]

# Verbs without an object.
MOVES = [tuple(v.split("/")) for v in """arrive/arrives/arrived/arriving come/comes/came/coming dance/dances/danced/dancing
drive/drives/drove/driving eat/eats/ate/eating fall/falls/fell/falling fly/flies/flew/flying go/goes/went/going
laugh/laughs/laughed/laughing live/lives/lived/living play/plays/played/playing rest/rests/rested/resting
run/runs/ran/running sing/sings/sang/singing sit/sits/sat/sitting sleep/sleeps/slept/sleeping
speak/speaks/spoke/speaking stand/stands/stood/standing stay/stays/stayed/staying swim/swims/swam/swimming
travel/travels/traveled/traveling walk/walks/walked/walking work/works/worked/working
wait/waits/waited/waiting""".split()]


def plural(noun):
    """English plural of `noun`, regular spelling rules plus the short list of exceptions."""
    if noun in IRREGULAR_PLURALS:
        return IRREGULAR_PLURALS[noun]
    if noun.endswith(("s", "x", "sh", "ch")):
        return noun + "es"
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return noun[:-1] + "ies"
    return noun + "s"
