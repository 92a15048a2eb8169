"""WordNet kinds: the nouns that others are kinds of, as WordNet-NLI uses them, and the words it leaves out.

Which split a kind and all that is below it belong to is written down here, so that it does not depend on chance: words of
one split are met in no other. Every field of meaning that is in the test has neighbours in training (birds in the test,
mammals and insects in training), but not one of its words.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Kind:
    word: str
    sense: int  # number of the sense in WordNet, from 1
    field: str  # decides which sentences its words stand in
    split: str
    article: bool = True  # "a metal"; without: "clothing"
    below_article: bool = True  # the same of the words below it: "a dog", but "silk"
    exclusive: bool = False  # is nothing two of its kinds at once? So with living beings and with substances


def _kinds(split: str, field: str, *words: str, **rest: bool) -> tuple[Kind, ...]:
    """Make kinds of `word` or `word.SENSE`."""
    split_words = (word.partition(".") for word in words)
    return tuple(Kind(word, int(sense or 1), field, split, **rest) for word, _, sense in split_words)


KINDS = (
    *_kinds("train", "animal", "animal", "mammal", "insect", "reptile", "crustacean", exclusive=True),
    *_kinds("train", "animal", "mollusk", "rodent", "monkey", "dog", "snake", "worm", exclusive=True),
    *_kinds(
        "train", "animal", "arthropod", "ruminant", "deer", "horse", "moth", "bee", "dinosaur", exclusive=True
    ),
    *_kinds("train", "plant", "plant.2"),
    *_kinds("train", "plant", "tree", "shrub", "fern", exclusive=True),
    *_kinds("train", "food", "fruit", "berry"),
    *_kinds("train", "vehicle", "vehicle", "car", "ship", "boat", "aircraft", "airplane", "wagon", "sled"),
    *_kinds("train", "place", "building", "restaurant", "hotel"),
    *_kinds("train", "clothing", "clothing", article=False),
    *_kinds("train", "clothing", "garment", "hat", "shoe", "coat", "scarf", "sweater"),
    *_kinds("train", "artefact", "tool"),
    *_kinds("train", "artefact", "machine"),
    *_kinds("train", "material", "metal", below_article=False, exclusive=True),
    *_kinds("train", "material", "gas.2", below_article=False, exclusive=True),
    *_kinds("train", "drug", "drug", below_article=False, exclusive=True),
    *_kinds("train", "disease", "disease", below_article=False, exclusive=True),
    *_kinds("train", "subject", "science", below_article=False),
    *_kinds("train", "feeling", "feeling", "emotion", below_article=False),
    *_kinds("train", "body", "muscle", exclusive=True),
    *_kinds("train", "idea", "particle.2"),
    *_kinds("train", "idea", "polygon"),
    *_kinds("train", "text", "publication", "book"),
    *_kinds("validation", "animal", "fish", exclusive=True),
    *_kinds("validation", "plant", "vine"),
    *_kinds("validation", "place", "room"),
    *_kinds("validation", "material", "gemstone", "wood", below_article=False, exclusive=True),
    *_kinds("validation", "crime", "crime", below_article=False),
    *_kinds("validation", "idea", "color", below_article=False, exclusive=True),
    *_kinds("validation", "artefact", "musical_instrument", exclusive=True),
    *_kinds("validation", "weather", "storm"),
    *_kinds("validation", "text", "poem"),
    *_kinds("test", "animal", "bird", "seabird", "duck", exclusive=True),
    *_kinds("test", "plant", "flower", "orchid", exclusive=True),
    *_kinds("test", "food", "vegetable"),
    *_kinds("test", "drink", "drink.3", "liquor", below_article=False),
    *_kinds("test", "drink", "alcohol", "wine", article=False, below_article=False),
    *_kinds("test", "artefact", "weapon", "gun", "firearm", "sword"),
    *_kinds("test", "artefact", "chair", "table.2"),
    *_kinds("test", "artefact", "furniture", article=False),
    *_kinds("test", "material", "fabric", below_article=False),
    *_kinds("test", "material", "rock.2", below_article=False, exclusive=True),
    *_kinds("test", "sport", "sport", "game", below_article=False, exclusive=True),
    *_kinds("test", "body", "bone"),
    *_kinds("test", "place", "road", "highway"),
    *_kinds("test", "text", "song"),
)

# Fields of which something may belong to both, so that being the one does not rule out the other.
OVERLAPPING = (
    {"animal", "food"},
    {"plant", "food"},
    {"plant", "drug"},
    {"plant", "material"},
    {"food", "drink"},
    {"drug", "drink"},
    {"drug", "material"},
    {"drug", "food"},
    {"artefact", "clothing"},
    {"artefact", "vehicle"},
    {"artefact", "material"},
    {"clothing", "material"},
    {"subject", "sport"},
    {"subject", "text"},
    {"idea", "material"},
    {"feeling", "disease"},
    {"sport", "crime"},
    {"feeling", "crime"},
)

# Words that a reader takes otherwise than WordNet's commonest sense; plurals and words of doubtful article; slurs.
UNSUITED = frozenset(
    """
    ani argentine dun hind dolphin humankind humans mankind hominid human bronc buckskin charger crowbait cows oxen cattle
    livestock swine poultry seahorse cottontail whiteface shorthorn freetail beef muishond chick hen drone queen peacock
    beluga grubby chrysalis pupa robin turkey fowl gamecock cur entire mount karakul steed race placental edentate fissiped
    plantigrade musteline viverrine whitefly shipworm univalve bug louse yellowlegs ratite cavy percoid ganoid game
    arbor almond apricot breadfruit cacao cashew grapefruit hazelnut litchi mango mulberry nutmeg persimmon plum pomegranate
    quince rambutan allspice candlenut crabapple sloe kola titi pine rattan fig olive chinchona flamboyant sapling mallee
    blueberry capsicum cranberry elderberry gooseberry huckleberry jalapeno paprika pimento absinthe marijuana cannabis
    tarragon coca burdock milkwort loosestrife eryngo artemisia avens derris knapweed shrublet subshrub spurge thrift heath
    cucumber pumpkin zucchini muskmelon hops vetch legume soya locoweed sarsaparilla betel liana ephedra senna germander
    amaranth cottonseed linseed rapeseed seed rye soybean seedpod pyxis acorn chickpea buckeye carob nut nutlet cubeb okra
    cling currant citrus drupe walnut marasca chips greens julienne potherb rhubarb pea calla nigella silene liparis
    bitters spirits booze vintage lacing bubbly herbal brew chocolate alcohol aperitif potion tisane maraschino generic
    bogy brig dinky gig hackney knockabout nautilus outboard pickup shipwreck sulky convertible interceptor ironclad clarence
    kamikaze teacart trolley missile rocket electric craft duplex charger subcompact tank balloon hydroplane freighter
    architecture nuthouse rink stalls capitol soddy packinghouse grill creche coop bawdyhouse brothel feedlot shrine ruin
    convent doghouse tenement cloister aviary smokehouse outbuilding stall theatre house
    cab john nursery salon saloon speakeasy cockpit ginmill locker tollhouse privy toilet storeroom lobby parlor compartment
    detour pike shortcut alley ambulatory altar stool booth wicker bassinet
    accouterment apparel attire bloomers boxers breeches chino churidars clothes cords corduroys denim drawers footwear
    furnishing garb handwear headgear hosiery ironing laundry levis lingerie mending neckwear nightclothes outerwear pants
    shorts silks slacks stays tails threads tights trappings trouser trunks underpants underwear unmentionable weeds
    strapless mac muff derby diaper gallus hairpiece mobcap stole accessory wig headdress jean bolo boa bandoleer regalia
    frock slicker stocking aba uniform legging doublet wrapper costume vestment
    cutlery pliers scissors shears smoother triphammer jackhammer antiaircraft autoloader bioweapon botulin bullet knuckles
    projectile sarin smoothbore semiautomatic munition bones castanets chordophone viol binder engine gristmill machinery
    simulator starter website workhorse motor computer mower horn recorder percussion triangle
    bib bunting handkerchief lateen mainsail moire needlepoint netting pique plaid rag russet sacking serge swatch tarpaulin
    topgallant topsail towel yoke oilcloth herringbone boucle felt knit toweling canvas metallic
    groundmass holystone fieldstone gravel stone exhalation fumes inhalant sky radiochlorine polybutene propene phosgene
    acoustic botanical dope dose gage cigar cigarette tobacco medication aloes analgesic anesthetic anthelmintic
    antiarrhythmic antibacterial anticoagulant anticonvulsant antidepressant antidiabetic antidiarrheal antidote antiemetic
    antihistamine antimalarial antimetabolite antineoplastic antipsychotic antipyretic antispasmodic antiviral barbiturate
    benzodiazepine bronchodilator carminative cephalosporin decongestant diuretic emetic expectorant hallucinogen hypnotic
    laxative narcotic nontricyclic ointment placebo purgative relaxant salve sedative soporific stimulant sulfa sulfonamide
    tranquilizer tricyclic vasodilator vermifuge steroid
    creeps dwarfism cataract fistula goiter goitre papule pimple pox pustule ergot heaves lichen scours trembles yaws
    malignancy chorea scrapie spavin shingles
    decomposition prosthetics phrenology arts numerology behaviorism
    doubles singles ducking stops auction jacks riding tumbling hoops racing jumping coursing pugilism hunting sledding
    bicycling motorcycling acrobatics bowls hearts skittles cards athletics
    harassment caring aggravation touch grudge tantrum qualm premonition smell sensation passion
    felony misdemeanor holdup infraction perpetration violation stealing prostitution
    capitate carpal lat pastern jowl marrowbone centrum maxillary zygomatic tarsal tooth incisor sphenoid turbinate
    adductor pecs intercostal pectoral rectus teres extensor flexor
    blackness bleach claret complementary complexion pallor sanguine tint whiteness coral ebony monoclonal ink
    micelle grain wedge square lied blues choral annals archives instructions monthly periodical reissue reprint unabridged
    weekly yearly folder edition vocabulary compilation epic whirlwind sawdust splinters matchwood log brushwood sumac
    embryo blastula fetus larva female filly feeder creeper aquatic houseplant ornamental perennial seedling gametophyte
    sporophyte evergreen epiphyte succulent herbage nestling pet purebred quadruped snowball dogtooth pussytoes clocks
    biennial dicot sang stewing trumpets weed colt pup broccoli celery spinach garlic parsley cress cumin dill thyme
    licorice sesame saffron mustard wheat oat maize popcorn sorghum alfalfa kelp basil buckwheat asparagus anise corn
    cauliflower turnip beet vegetable stevia safflower mescal succulent yearling carnivore herbivore vertebrate
    ego fetish conceit despite phlegm mood belonging partiality easiness seriousness wishing twinge pang throes thrips pia
    detachment penance letdown whim preference primer sentiment dispensary destroyer cruiser jet titi rattler sidewinder
    woolen woollen velours horseshoes marbles darts milk gauze throne pew lance canyon magma lava street phalanx
    fawn teal highroad superhighway sepia softwood hardwood heartwood pulpwood quira yellowwood actin jaw pubis
    coyote herb banana pineapple diatom feelings chess jukebox
    sky opal ruby diamond stinker
    """.split()  # noqa: SIM905 (as a list it is 700 lines)
)

# Countable words among those that stand without an article.
WITH_ARTICLE = frozenset(("cocktail", "highball", "martini", "daiquiri", "liqueur", "toddy"))
