"""Codes of languages: every data set has its own; here they are ISO 639-1 where it has one."""

import re

# ISO 639-3 (and 639-2 where sets use it) of the languages that the data sets cover.
_CODES = """
afr af amh am ara ar arb ar arz arz aze az azj az bel be ben bn bos bs bre br bul bg cat ca ceb
ceb ces cs cmn zh zho zh cym cy dan da deu de ell el eng en epo eo est et ekk et eus eu fao fo
fas fa pes fa fin fi fra fr fry fy gla gd gle ga glg gl guj gu hat ht hau ha heb he hin hi hrv
hr hun hu hye hy ibo ig ido io ile ie ina ia ind id isl is ita it jav jv jpn ja kan kn kat ka
kaz kk khm km kor ko kur ku lat la lav lv lvs lv lit lt ltz lb mal ml mar mr mkd mk mlg mg plt
mg mon mn khk mn msa ms zsm ms mya my nep ne npi ne nld nl nno nn nob nb nor no oci oc ori or
ory or pan pa pol pl por pt ron ro rus ru sin si slk sk slv sl sna sn som so spa es sqi sq als
sq srp sr sun su swa sw swh sw swe sv tam ta tat tt tel te tgk tg tgl tl tha th tuk tk tur tr
uig ug ukr uk urd ur uzb uz uzn uz vie vi xho xh yid yi ydd yi yor yo yue yue zul zu quy qu que
qu ilo ilo war war
"""
_FROM_THREE = dict(zip(_CODES.split()[::2], _CODES.split()[1::2], strict=True))
_NAMES = """
afrikaans af arabic ar basque eu bengali bn bulgarian bg chinese zh dutch nl english en estonian et
finnish fi french fr german de greek el hebrew he hindi hi hungarian hu indonesian id italian it
japanese ja kazakh kk korean ko marathi mr persian fa portuguese pt russian ru spanish es swahili sw
tagalog tl tamil ta telugu te thai th turkish tr urdu ur vietnamese vi yoruba yo
"""
_FROM_NAME = dict(zip(_NAMES.split()[::2], _NAMES.split()[1::2], strict=True))


# Of languages that data sets publish in several scripts, those that the bare code does not mean:
# FLORES-200's, SIB-200's and Belebele's, and NTREX's of Serbian.
_OTHER_SCRIPTS = {
    "ar": "Latn", "zh": "Hant", "sr": "Latn", "ace": "Arab", "bjn": "Arab", "kas": "Deva",
    "knc": "Latn", "min": "Arab", "taq": "Tfng", "bn": "Latn", "hi": "Latn", "ne": "Latn",
    "si": "Latn", "ur": "Latn",
}  # fmt: skip
_OWN_REGIONS = {"zh": "CN"}


def language_code(published: str) -> str:
    """The code of a language as a data set writes it: `deu`, `deu_Latn`, `swahili`, `de`.

    A second script of one language keeps its name (`zho_Hant` is `zh-Hant`, `arb_Latn` `ar-Latn`),
    and so does a region (`fra-CA` is `fr-CA`); what is unknown stays as it is.
    """
    name, *variant = re.split("[-_]", published, maxsplit=1)
    code = _FROM_THREE.get(name, _FROM_NAME.get(name.lower(), name))
    if not variant:
        return code
    if re.fullmatch("[A-Z][a-z]{3}", variant[0]):
        own = variant[0] != _OTHER_SCRIPTS.get(code)
    else:
        own = variant[0] == _OWN_REGIONS.get(code)
    return code if own else f"{code}-{variant[0]}"


# In hundredths. 1 - the cosine of the 103 syntactic features of URIEL, of which those that are not
# known are predicted from the nearest languages (Littell et al. 2017, "URIEL and lang2vec", in the
# package lang2vec 1.1.2; the database is under CC BY-SA 4.0).
_FROM_ENGLISH = """
af 15 am 41 ar 35 arz 36 az 48 be 21 bg 14 bn 42 br 25 bs 22 ca 13 ceb 39 cs 26 cy 28 da 12 de 10
el 22 en 0 eo 18 es 18 et 23 eu 38 fa 50 fi 29 fo 12 fr 19 fy 6 ga 28 gd 24 gl 20 gu 42 ha 25 he 25
hi 38 hr 17 ht 27 hu 31 hy 37 ia 14 id 27 ie 17 ig 41 ilo 39 io 14 is 13 it 14 ja 50 jv 40 ka 32
kk 55 km 37 kn 47 ko 45 ku 46 la 22 lb 6 lt 31 lv 25 mg 45 mk 15 ml 46 mn 51 mr 44 ms 30 my 61
nb 10 ne 47 nl 8 nn 13 no 9 oc 19 or 44 pa 39 pl 21 pt 16 qu 48 ro 20 ru 19 si 44 sk 18 sl 19 sn 53
so 40 sq 20 sr 20 su 31 sv 7 sw 54 ta 49 te 48 tg 44 th 36 tk 53 tl 39 tr 49 tt 49 ug 47 uk 15 ur 38
uz 45 vi 34 war 37 xh 52 yi 6 yo 40 yue 30 zh 29 zu 56
"""
_DISTANCES = dict(zip(_FROM_ENGLISH.split()[::2], _FROM_ENGLISH.split()[1::2], strict=True))


def syntactic_distance(code: str) -> float | None:
    """How far a language's syntax is from that of English, from 0 to 1; None where unknown.

    A script or a region makes no difference.
    """
    found = _DISTANCES.get(code.partition("-")[0])
    return int(found) / 100 if found else None
