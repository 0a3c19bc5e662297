"""Words that questions on any subject are made of, in the languages that datasets are mostly in."""

ENGLISH = """
able about actually after again all already also always and another answer any anyone are around
ask assistant away back based because been before being below best bit both but call came can
cannot certain come common consider could create day describe did different does doesn doing don
down each else enough etc even ever every everything exactly example examples explain fact feel
few find first following for from generate get give given going good got great had has hasn have
haven hear hello help her here hers hey him his how however human idea ideas important input
instead interested interesting into isn its itself just keep kind know later least let like list
little long look lot lots made make many may maybe mean might more most much must name need
never new next not now off often okay once one only other our out output over own part people
perhaps please point possible pretty provide put question questions quite rather really
recommend right said same say see seem sentence several she should show since some someone
something sounds specific start still stuff such suggest suggestions sure take talk tell than
thank thanks that the their them then there these they thing things think thinking this those
though three through time today together too true try two under until use used user using
usually various very wait want wanted was wasn way ways well were what when where whether which
while who whom whose why will with within without won work works would write yeah year years yes
yet you your yours
along anything asked better between dont during heard including known looking makes others
seems similar thats thought trying wow
aren couldn didn don hadn shouldn wasn weren wouldn
"""
GERMAN = """
aber als auch auf aus bei bin bis bitte das dass dein dem den der des die dir doch durch ein
eine einem einen einer eines für hat ich ihr ist kann kannst man mein mit nach nicht noch oder
sein sich sie sind soll und uns unter vom von vor welche wenn wer werden wie wir wird zum
zur über
"""
FRENCH = """
aux avec ces cette comme dans donne elle est les leur mais mes mon nous par pas plus pour quand
que quel quelle quels qui sans ses son sont sur tous tout une vos votre vous être
"""
SPANISH = """
como con cual cuando cuál cuándo del desde donde dónde ella entre era esta este esto está hay
las los mis muy más nos para pero por porque puede puedes quién qué ser sin sobre sus también
una uno unos
"""
PORTUGUESE = """
aos até com dos ela ele esse isso mas meu minha nas numa não onde pela pelo pode quais qual quem
seu sua são também tem uma você
"""
ITALIAN = """
alla anche che chi cosa dal degli dei della delle gli hanno loro nel nella non perché più può
quale sono sul sulla tra
"""
DUTCH = """
aan ben dat deze dit een geen heb heeft het hij hoe kan maar met mijn naar niet ook van voor
waar wat welke zijn
"""
RUSSIAN = """
без был для его ещё как какие какой когда кто меня мне может над нас него она они оно почему при
про чем что чтобы это
"""
STOP_WORDS = frozenset(
    " ".join((ENGLISH, GERMAN, FRENCH, SPANISH, PORTUGUESE, ITALIAN, DUTCH, RUSSIAN)).split()
)
