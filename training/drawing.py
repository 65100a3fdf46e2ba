"""Images that the program makes itself: digits as the world writes them, and pictures that show no digit.

MNIST was written by Americans in the 1990s. A network that knows it alone has seldom seen a 1 with a long up-stroke, a
7 with a bar or a 4 closed to a triangle, and has never seen what is no digit.
"""

import functools
import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from app.vision.normalise import normalise
from training import printed
from training.data import Split

SIDE = 28

# Pixels: of the canvas that is drawn on, and of a skeleton's side on it. Slanted and thick ones need the room around.
# Reduced to 20 pixels, four and more of the canvas make one, which gives smooth edges.
CANVAS, SCALE = 160, 88

# Pixels of the canvas between the points of a stroke, few enough to keep sharp turns.
PACE = 5

# Skeletons. A knot is written xxyy, hundredths of the unit square from its top left; a smooth curve leads through the
# knots, and turns sharply at those with "!". It is closed where the first knot comes again at the end. "|" lifts the
# pen. "~" parts two forms with like knots, between which each drawing takes its own place.
STYLES: dict[int, dict[str, str]] = {
    0: {
        "closed": "5002 2515 1550 2585 5098 7585 8550 7515 5002",
        "overshot": "6208 3210 1550 2888 5298 8080 8540 6808 4214",
        "slashed": "5002 2515 1550 2585 5098 7585 8550 7515 5002 | 8502 1598 ~ "
        "5002 2515 1550 2585 5098 7585 8550 7515 5002 | 7030 3070",
        "printed": "5002 2510 1830 1870 2590 5098 7590 8270 8230 7510 5002",
    },
    1: {
        "plain": "5002 5098",
        "slanted": "6802 3298 ~ 5802 4298",
        "ticked": "4218 5803! 5898 ~ 3028 5803! 5898",
        "flagged": "2238 6003! 6098 ~ 1452 6003! 6098",
        "long flag": "1455 6503! 6598 ~ 0582 6503! 6598",
        "steep flag": "3640 6503! 6598 ~ 2470 6503! 6598",
        "bent flag": "1650 4430 6003! 6098 ~ 1072 4440 6003! 6098",
        "bent stem": "1450 5803! 5850 5198 ~ 2438 5503! 5860 6298",
        "based": "3222 5403! 5497 | 2497 8097 ~ 1645 5403! 5497 | 3096 7896",
    },
    2: {
        "flat": "1525 3505 6505 8025 6052 1296! 9096 ~ 1218 3503 6808 7530 5552 1294! 8597",
        "looped": "1525 3505 6505 7825 5858 2590 1084 2576 5286 9094",
        "wide loop": "1822 4003 7515 7045 4080 1597 0880 3072 6092 9288",
        "angular": "1518 7006 8016! 1296! 9094 ~ 1225 4004 8022! 1294! 8896",
        "swan": "1222 3003 6008 7030 4565 1295! 4088 6596 9088",
    },
    3: {
        "round": "1515 4503 7515 7238 3848! 7858 8280 5598 1585 ~ 1808 4802 8020 7038 4248! 7654 8080 5098 1090",
        "flat top": "1505 8205! 4242! 7650 8472 6095 1588 ~ 1206 7806! 3840! 7848 8475 5598 1288",
        "looped": "1518 4503 7518 6540 4550 3848 4545 7555 8278 5098 1285",
        "angular": "1505 8005! 3845! 8262! 7090 1296",
        "printed": "1518 4803 7815 7636 4048! 7860 8280 5098 1282",
    },
    4: {
        "open": "2505 1555! 8555 | 6525 6098 ~ 2003 1850! 8852 | 7003 6898",
        "rounded": "2005 1645 4055 8048 | 8003 7598 ~ 2505 2040 4858 7850 | 7805 6098",
        "closed": "6803! 0868! 9268 | 6803 6898 ~ 5803! 1258! 8858 | 5803 5298",
        "one stroke": "6898 6803! 1065! 9265 ~ 5598 6803! 1558! 9055",
        "low bar": "6203! 0875! 9073 | 6250 6098 ~ 5503! 1078! 9078 | 6855 6898",
        "long stem": "3505 1538! 8238 | 6515 5298 ~ 2505 2040! 8038 | 8003 6898",
    },
    5: {
        "one stroke": "8206 2806! 2248! 5040 8265 7090 4098 1290 ~ 8504 3208! 2642! 5540 8068 6592 3898 1592",
        "flag apart": "2808 2248! 5040 8265 7090 4098 1290 | 3006 8504 ~ "
        "3016 2450! 5242 8068 6892 4098 1488 | 3406 9002",
        "raised flag": "2815 2248! 5042 8065 7090 4098 1290 | 3006 8502 ~ "
        "3018 2450! 5045 8068 6892 4098 1488 | 4010 8801",
        "slim": "7805 3505! 3042! 5540 7562 6585 4598 2092",
        "angular": "8504 2204! 2044! 7044! 8070! 6596! 1594",
    },
    6: {
        "wide loop": "7203 4015 2045 1572 3095 6098 8282 7862 5550 3055 1872",
        "small loop": "5502 3530 2265 3092 5598 7288 6572 4572 2680",
        "straight": "6002 3040 1872 3095 6598 8280 7060 4552 2468 ~ 7502 4032 2065 2892 6098 7884 7070 4562 2074",
        "curled": "8016 6203 3512 1845 1875 4098 7092 8070 6552 3555 2070",
        "curled in": "6502 3025 1860 2590 5098 7585 7065 5058 4070 5082",
    },
    7: {
        "plain": "1208 8808! 4098 ~ 1014 8604! 3098",
        "hooked": "1222! 1406! 8808! 4598 ~ 1034! 1208! 8606! 3898",
        "barred": "1208 8808! 4098 | 2852 7850 ~ 1012 8606! 3598 | 3548 8844",
        "hooked, barred": "1222! 1408! 8808! 4098 | 2852 7850 ~ 1034! 1208! 8606! 4098 | 3855 8547",
        "bent": "1210 4812 8806! 5545 4298 ~ 1015 4505 8808! 6240 5598",
        "bent, barred": "1210 4812 8806! 5545 4298 | 2852 7850 ~ 1015 4505 8808! 6240 5098 | 4052 8848",
        "waved, barred": "1020 2806 6012 8806! 5550 4098 | 3050 7652 ~ 1018 3004 5812 8804! 6050 5298 | 3852 8548",
    },
    8: {
        "two rings": "5003 2812 2632 5048 7432 7212 5003 | 5048 2060 1880 5098 8280 8060 5048",
        "one stroke": "7518 5003 2515 3238 6055 8078 5098 2080 3860 7030 7518",
        "open": "6806 3506 2525 5048 7870 6595 3595 2275 5050 7824 8404",
        "small head": "5003 3312 3330 5042 6730 6712 5003 | 5042 1858 1585 5098 8585 8258 5042",
    },
    9: {
        "straight": "8022 5004 2012 1535 4055 7242 8018! 7898 ~ 7825 5503 2515 1838 4254 7040 7822! 6498",
        "bent": "8020 5003 2012 1535 4555 7242 8218! 8258 7085 3097 1590",
        "looped": "7516 5003 2208 1825 4238 7028 7812! 7660 6290 4293 3882 6068 9056 ~ "
        "7820 5503 2210 1830 4245 7434 7814! 7868 6892 5096 4790 5884 7280",
        "slanted": "8025 5504 2515 1838 4554 7540 8025! 5098 ~ 8020 5003 2010 1530 4550 7238 8018! 4098",
        "printed": "5003 2212 1532 2552 5058 7850 8530 7510 5003 | 8530 8060 6592 2594",
    },
}

# A display's seven bars, clockwise from the top and last the middle one, which make which digit, and how many of the
# drawn digits look so.
BARS = dict(zip("abcdefg", ("1805 8205", "8205 8250", "8250 8295", "1895 8295", "1850 1895", "1805 1850", "1850 8250"),
                strict=True))  # fmt: skip
LIT = ("abcdef", "bc", "abged", "abgcd", "fgbc", "afgcd", "afgecd", "abc", "abcdefg", "abfgcd")
DISPLAYED = 0.07

# Digits that stay what they are in a pen far thicker than usual, and how many are drawn so: as typeset in bold.
OPEN, BOLD = (1, 7), 0.2

# Letters and signs of many scripts, by name. Without those that can pass for a digit (B b D g I i J j l O o Q q S s
# y Z z, Lambda, beta, delta, sigma, the Cyrillic Be, Che, Tse, Ze, the kana Chi, Mu) or for a mirrored one (the kana
# Yo).
LETTERS = {
    name: skeleton
    for name, _, skeleton in (
        line.partition(" ")
        for line in """\
A 1098 5002! 9098 | 2862 7262
C 8518 5503 2020 1250 2280 5597 8582
G 8518 5503 2020 1250 2280 5597 8580! 8552! 5552
E 8503 1803! 1897! 8597 | 1850 7550
F 8503 1803! 1898 | 1848 7248
H 1803 1898 | 8203 8298 | 1850 8250
K 1803 1898 | 8203 1855! 8598
L 2003 2097! 8597
M 0898 1503! 5070! 8503! 9298
N 1598 1503! 8597! 8503
P 2098 2003! 6003 8215 8238 6052 2052
R 2098 2003! 6003 8015 8035 6050 2050! 8598
T 0804 9204 | 5004 5098
U 1503 1565 3095 6595 8565 8503
V 1003 5097! 9003
W 0503 2597! 5030! 7597! 9503
X 1203 8897 | 8803 1297
Y 1003 5050! 9003 | 5050 5098
a 2042 5030 7545 7595 | 7558 3560 2078 4095 7580
round-a 7518 4503 1535 1870 4095 7070 | 7803 7580 9897
d 7850 4542 1865 3095 6092 7870 | 8003 8098
e 1565 8462! 7540 5030 2042 1570 3595 7592
f 7812 6003 4520 4598 | 2042 7042
h 2003 2098 | 2060 4538 7048 7898
k 2203 2298 | 7540 2270! 7898
m 1035 1098 | 1050 3035 4850 4898 | 4850 7035 8850 8898
n 2035 2098 | 2055 5035 7852 7898
p 2030 2099 | 2042 5028 8045 7872 4580 2068
r 3035 3098 | 3060 5038 7838
t 4505 4580 6097 8090 | 2032 7832
u 2035 2075 4595 7580 8035! 8098
w 1040 2897! 5055! 7297! 9040
x 2040 8097 | 8040 2097
Gamma 2298 2203! 8503
Delta 5003 0897! 9297! 5003
gamma 1005 2505 5060 5588 4598 3588 4560 9003
epsilon 8218 5003 2520 4046! 1572 4598 8582
eta 0832 2028 2572 | 2555 4530 6535 7055 7298
theta 5003 2220 1550 2280 5097 7880 8550 7820 5003 | 1850 8250
mu 1530 1099 | 1570 3585 6062 | 6530 6580 9090
Xi 1005 9005 | 2250 7850 | 1096 9096
Pi 0805 9205 | 2205 2298 | 7805 7898
Sigma 8805 1505! 5548! 1296! 8896
Phi 5003 5098 | 5022 1840 1865 5078 8265 8240 5022
Psi 1208 1845 5062 8245 8808 | 5003 5098
Omega 1096 3596! 3578 1545 3010 6510 8545 6578 6596! 9096
alpha 9020 6075 3582 1550 3520 6030 9085
lambda 2503 4515 8598 | 5040 1298
pi 1025 9022 | 3525 2595 | 6825 6580 8095
Zhe 0505 3550! 0597 | 9505 6550! 9597 | 5003 5098 | 3550 6550
Ii 1503 1597! 8503! 8598
El 0896 2880 3203! 8503! 8598
Sha 1003 1097! 9097! 9003 | 5003 5097
Shcha 1003 1085! 9585! 9599 | 4503 4585 | 8003 8085
Yu 1203 1298 | 1250 4050 | 6503 4030 4070 6598 9070 9030 6503
Ya 8098 8003! 4003 2015 2038 4052 8052 | 4552 1598
De 0598 0580! 9580! 9598 | 2080 3503! 7503! 7580
Ka 1030 8528! 8075 6096 | 4505 4050 1598
Ki 1530 8022 | 1060 8850 | 4003 6098
Sa 0835 9232 | 3008 3060 | 6808 6550 4098
Na 0835 9230 | 5005 5055 3098
Ho 1030 9030 | 5005 5098 | 2852 1288 | 7252 8888
Me 8010 5060 1097 | 2535 8585
Mo 2015 8012 | 1050 8847 | 5015 5085 6595 8892
N' 1512 3525 | 1590 5080 8530
Tsu 1015 1840 | 4010 4835 | 8510 7560 3098
Shi 1510 3520 | 1038 2848 | 1590 6080 9035
O' 0830 9230 | 6503 6598! 5090 | 6232 1085
Ke 3505 1055 | 2530 9030 | 6530 6070 3598
Ha 3520 0890 | 6015 9290
Hi 2005 2080 3092 8590 | 2048 7838
i' 1515 1570 2585 3570 | 7020 8560
ki 1525 8018 | 1545 8538 | 4005 7560 | 2570 4595 8092
ke 1508 1898 | 4035 9233 | 7008 7260 5098
su 0825 9222 | 5505 5560 3560 3548 5548 5298
ni 1508 1898 | 4530 8528 | 4272 5588 9085
ma 1525 8525 | 2048 8048 | 5005 5080 3095 2082 4075 8592
mo 3505 3080 5097 8080 8060 | 1535 6535 | 1560 6560
ta 0825 6022 | 3505 1595 | 5045 8842 | 4580 6090 9088
ka 0830 6528 7560 5597 4088 | 3805 1295 | 8025 9550
tree 0830 9230 | 5003 5098 | 4832 1080 | 5232 9080
big 0835 9235 | 5003 4555 1098 | 5240 9098
mid 1225 8825! 8865! 1265! 1225 | 5003 5098
+ 5010 5090 | 1050 9050
= 1035 9035 | 1065 9065
times 1515 8585 | 8515 1585
÷ 1050 9050 | 4818 5218 | 4882 5282
√ 0555 2050! 4097! 6505! 9805
% 8503 1597 | 2805 1515 2230 3835 4020 2805 | 7065 6080 7095 8885 8570 7065
& 9598 3025 3205 5503 6220 2060 1585 4098 7585 9255
? 1825 3005 6805 8028 5550 5070 | 5092 5098
@ 7040 5535 3848 3868 5575 7060 7038! 7570 9065 9235 6505 3008 0835 0875 3597 7592
# 3505 2595 | 7505 6595 | 0835 9535 | 0568 9268
< 8510 1550! 8590
≠ 1035 9035 | 1065 9065 | 7010 3090
≈ 1040 3028 6045 8832 | 1070 3058 6075 8862
± 5005 5070 | 1038 9038 | 1095 9095
* 5010 5090 | 1530 8570 | 8530 1570
€ 8818 6005 2825 2475 6097 8882 | 0840 6540 | 0860 6060
¥ 1003 5048! 9003 | 5048 5098 | 2058 8058 | 2075 8075
∀ 1005 5097! 9005 | 2540 7540
∇ 1005 9005! 5097! 1005
∠ 8515 1590! 9090
… 2050 2350 | 5050 5350 | 8050 8350
""".splitlines()
    )
}

# How many of the letters are printed.
PRINTED = 0.35

# Letters that stay what they are in the thickest pen.
STRAIGHT = frozenset("EFLTUVX")

# Figures in outline. No lone ring, line or upright box, which are a 0 and a 1, and nothing like an 8 that lies.
FIGURES = (
    "5005 0892! 9292! 5005",  # triangle
    "0522 9522! 9578! 0578! 0522",  # box
    "0808 9208! 9292! 0892! 0808 | 0808 9292 | 9208 0892",  # box, crossed out
    "0825 9225! 9275! 0875! 0825 | 0825 5055! 9225",  # envelope
    "5003 2097! 9838! 0238! 8097! 5003",  # star
    "5030 2808 0525 2060 5097! 8060 9525 7208 5030",  # heart
    "0860 3592! 9510",  # tick
    "1010 9090 | 9010 1090",  # cross
    "0850 9250 | 6525 9250! 6575",  # arrows
    "9250 0850 | 3525 0850! 3575",
    "5003 5097 | 2070 5097! 8070",
    "0892 9208 | 5508 9208! 9245",
    "0850 9250 | 7030 9250! 7070 | 3030 0850! 3070",
    "5003 9545! 8045! 8097! 2097! 2045! 0545! 5003",  # house
    "3003 3097 | 7003 7097 | 3020 7020 | 3050 7050 | 3080 7080",  # ladder
    "3503 3597 | 6503 6597 | 0335 9735 | 0365 9765",  # noughts and crosses
    "0597 0575! 2875! 2850! 5050! 5028! 7528! 7505! 9705",  # stairs
    "0550 1525 3550 4575 5550 6525 8050 9575",  # wave
    "5003 1515 0350 1585 5097 8585 9750 8515 5003 | 3035 3238 | 6835 7038 | 2865 5080 7265",  # face
    "5003 1515 0350 1585 5097 8585 9750 8515 5003 | 1818 8282 | 8218 1882",  # ring, crossed out
    "5003 1515 0350 1585 5097 8585 9750 8515 5003 | 5030 3050 5070 7050 5030",  # rings
    "5003 1515 0350 1585 5097 8585 9750 8515 5003 | 3565 6535 | 4535 6535! 6555",  # an arrow in a ring
    "5003 1515 0350 1585 5097 8585 9750 8515 5003 | 5028 5072 | 2850 7250",  # plus in a ring
    "5050 5020 6505 8020 5050! 8050 9565 8080 5050! 5080 3595 2080 5050! 2050 0535 2020 5050",  # flower
)

# Silhouettes, as polygons: clothes first, then things.
CLOTHES = (
    "3505 4512 5512 6505 9520 8545 7540 7597 2597 2540 1545 0520",
    "3003 4515 5515 7003 8815 9890 8492 7840 7697 2497 2240 1692 0290 1215",
    "2203 7803 8897 6097 5035 4097 1297",
    "3503 4510 5510 6503 6035 8897 1297 4035",
    "3203 4803 5015 5203 6803 9515 9590 8090 7840 7897 2297 2240 2090 0590 0515",
    "0830 2835 4030 5855 9065 9785 0585",
    "2203 6003 6060 9575 9597 2297",
    "0575 3055 6068 9530 9785 9090 8560 6090 0590",
    "0580 2575 3525 6525 7575 9580 9590 0590",
    "3003 6503 6555 9078 8297 5595 3070",
    "1040 3040 3515 6515 7040 9040 9592 0592",
    "3025 4015 4503 5515 5503 6015 7025 7597 2597",
)
THINGS = (
    "5003 9545 8045 8097 2097 2045 0545",
    "0560 2055 3530 7030 8055 9760 9780 8580 8088 7080 3080 2588 1880 0580",
    "5003 7535 6535 9065 6065 6097 4097 4065 1065 3535 2535",
    "1520 7520 7530 9535 9060 7265 6595 2595",
    "0350 3025 6530 7545 9725 9775 7555 6570 3075",
    "3503 6503 6535 9735 9765 6565 6597 3597 3565 0365 0335 3535",
    "5003 6137 9738 6859 7997 5074 2197 3259 0338 3937",
    "5020 7005 9515 9540 5097 0540 0515 3005",
    "0355 1040 3030 5003 7030 9040 9755 5552 5590 4590 4552",
    "5003 9750 5097 0350",
    "0370 1550 3045 4525 6525 7545 9050 9770",
    "0540 5540 5515 9750 5585 5560 0560",
    "0310 9710 9775 6575 7095 3095 3575 0375",
    "0325 1815 3525 6525 7515 9725 9785 0385",
    "5003 6520 8825 8060 5097 2060 1225 3520",
    "3003 7003 8530 6045 6080 8097 2097 4080 4045 1530",
)

# Slim things, shown at any angle. Only their ends tell them from a bold 1, so none is shown small.
TOOLS = (
    "3803 6203 6275 5098 3875",  # pencil
    "3503 6503 6570 5598 4598 3570",  # crayon
    "4203 5803 5850 6660 5098 3460 4250",  # pen with a nib, brush
    "4303 5703 5725 6840 6897 3297 3240 4325",  # bottle
    "5003 5612 5320 6022 6097 4097 4022 4720 4412",  # candle
    "5003 6410 6630 5442 5497 4697 4642 3430 3610",  # spoon
    "5003 5715 5765 7565 7574 5774 5797 4397 4374 2574 2565 4365 4315",  # dagger
    "3503 4503 4530 5530 5503 6503 6540 5450 5497 4697 4650 3540",  # spanner
)

Float32Image = NDArray[np.float32]
Points = NDArray[np.floating]
Image28 = NDArray[np.uint8]
Random = np.random.Generator


def digits(count: int, seed: int | list[int]) -> Split:
    """Handwriting from drawn strokes, in the styles of many countries; each label about equally often, shuffled."""
    random = np.random.default_rng(seed)
    labels = random.permutation(np.arange(count) % 10).astype(np.uint8)
    images = np.zeros((count, SIDE, SIDE), np.uint8)
    for place, label in enumerate(labels):
        styles = list(STYLES[int(label)].values())
        skeleton = displayed(label) if random.random() < DISPLAYED else styles[random.integers(len(styles))]
        bold = label in OPEN and random.random() < BOLD
        images[place] = written(skeleton, random, random.uniform(1.3, 1.8) if bold else 1.0)
    return Split(images, labels)


def displayed(digit: int) -> str:
    """The digit's skeleton as a display of seven bars shows it."""
    return " | ".join(BARS[bar] for bar in LIT[digit])


def written(skeleton: str, random: Random, bold: float = 1.0) -> Image28:
    """The skeleton in somebody's hand, as MNIST would hold it, with a pen that many times as thick as usual."""
    hand = _hand(random)
    return normalise(_handwriting(skeleton, replace(hand, width=bold * hand.width), random))


def others(count: int, digits: NDArray[np.uint8], seed: int | list[int]) -> NDArray[np.uint8]:
    """Pictures that show no digit, or more than one: uint8 (count, 28, 28), shuffled.

    digits: uint8 (n, 28, 28), at least one image of a digit, to cut up and to glue together.
    """
    random = np.random.default_rng(seed)
    makers = [maker for maker, share in KINDS.items() for _ in range(share)]
    # Shuffled twice: so that a few pictures are of any kinds, and that many do not repeat one order.
    order = random.permutation(np.resize(random.permutation(len(makers)), count))
    images = np.zeros((count, SIDE, SIDE), np.uint8)
    for place, which in enumerate(order):
        images[place] = makers[which](random, digits)
    return images


# Strokes.


@dataclass(frozen=True)
class Hand:
    """How somebody writes, with which pen. Lengths are shares of the skeleton's side.

    form: (2, 2), the slant, the turn and the proportions. width: of the stroke. swell: how far width and pressure
    vary along it. slack: how far knots stray. tremor: how far the pen shakes. nib: half the edge of a flat pen as a
    vector, or None for a round pen. gaps: how likely a stroke is to break off for a moment.
    """

    form: Points
    width: float
    swell: float
    slack: float
    tremor: float
    nib: Points | None
    gaps: float


def _hand(random: Random) -> Hand:
    slant, turn = np.tan(np.deg2rad(np.clip(random.normal(6, 9), -15, 25))), np.deg2rad(random.normal(0, 3))
    proportions = np.diag([np.clip(random.normal(0.7, 0.13), 0.48, 1.05), 1])
    turned = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    width = float(np.clip(0.1 * np.exp(random.normal(0, 0.38)), 0.045, 0.2))
    angle = np.deg2rad(random.uniform(20, 60))
    flat = random.random() < 0.15
    neat = random.random() < 0.2
    return Hand(
        form=turned @ np.array([[1, -slant], [0, 1]]) @ proportions,
        width=width,
        swell=0.0 if neat else random.uniform(0, 0.25),
        slack=0.006 if neat else random.uniform(0.01, 0.03),
        tremor=0.0 if neat else max(0.0, random.normal(0.002, 0.004)),
        nib=np.array([np.cos(angle), -np.sin(angle)]) * width * 0.6 if flat else None,
        gaps=0.3 if random.random() < 0.1 else 0.0,
    )


def _handwriting(skeleton: str, hand: Hand, random: Random) -> Float32Image:
    """Ink on a canvas: float32 (160, 160), 0 to 255."""
    image = Image.new("L", (CANVAS, CANVAS))
    pen = ImageDraw.Draw(image)
    blend = random.random()
    for weights, first, last in _strokes(skeleton):
        knots = first + blend * (last - first) + random.normal(0, hand.slack, first.shape)
        path = weights @ knots
        if hand.tremor:
            path = path + hand.tremor * random.normal(0, 1, path.shape)
        _draw(pen, CANVAS / 2 + SCALE * (path - 0.5) @ hand.form.T, hand, random)
    if random.random() < 0.3:
        image = image.filter(ImageFilter.BoxBlur(random.uniform(0.5, 2.5)))
    return np.asarray(image, np.float32)


def _draw(pen: ImageDraw.ImageDraw, path: Points, hand: Hand, random: Random) -> None:
    """One stroke along (n, 2) points of the canvas."""
    path = _paced(path)
    count = len(path)
    # A slow wave for the pressure, on which the width depends more than the blackness.
    wave = hand.swell * np.sin(random.uniform(0, 6.3) + np.linspace(0, random.uniform(2, 7), count))
    radii = np.maximum(SCALE * hand.width * (1 + wave) / 2, 1.5)
    blacks = (255 * np.clip(1 - 0.3 * hand.swell + 0.6 * wave, 0.4, 1)).astype(int).tolist()
    # A break in the stroke lets a pixel or two of the finished image go, seldom near an end.
    missing = 1 + int(2 * radii[0] / PACE)
    broken = count > 4 * missing and random.random() < hand.gaps
    gap = int(random.integers(missing, count - 2 * missing)) if broken else count
    points, sizes = path.tolist(), radii.tolist()
    for n in range(count):
        if gap <= n < gap + missing:
            continue
        (x, y), radius, black = points[n], sizes[n], blacks[n]
        (u, v), joined = points[max(n - 1, 0)], n and n != gap + missing
        if hand.nib is not None:
            if joined:
                dx, dy = (SCALE * hand.nib).tolist()
                pen.polygon([(u - dx, v - dy), (x - dx, y - dy), (x + dx, y + dy), (u + dx, v + dy)], fill=black)
            radius *= 0.4  # a flat pen has some thickness too
        if joined:
            pen.line((u, v, x, y), fill=black, width=round(2 * radius))
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=black)


def _paced(path: Points) -> Points:
    """The same line with points at even distances."""
    along = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(path, axis=0).T))])
    steps = np.linspace(0, along[-1], 2 + int(along[-1] / PACE))
    return np.stack([np.interp(steps, along, path[:, 0]), np.interp(steps, along, path[:, 1])], 1)


@functools.cache
def _strokes(skeleton: str) -> list[tuple[Points, Points, Points]]:
    """For each stroke the (points, knots) weights that make its curve, and its knots (knots, 2) in both forms."""
    first, _, last = skeleton.partition(" ~ ")
    forms = zip(first.split(" | "), (last or first).split(" | "), strict=True)
    return [(_curve(one), _knots(one), _knots(two)) for one, two in forms]


def _knots(stroke: str) -> Points:
    return np.array([(int(knot[:2]), int(knot[2:4])) for knot in stroke.split()]) / 100


def _curve(stroke: str) -> Points:
    """Weights of the knots at each point of a stroke: Catmull-Rom splines from sharp turn to sharp turn."""
    knots = stroke.split()
    count = len(knots)
    turns = [0, *(n for n in range(1, count - 1) if knots[n].endswith("!")), count - 1]
    closed = len(turns) == 2 and knots[0] == knots[-1]
    identity = np.eye(count)
    return np.concatenate([_spline(identity[a : b + 1], closed) for a, b in itertools.pairwise(turns)])


def _spline(knots: Points, closed: bool) -> Points:
    """Points of the cubic spline through (n, d) knots, six for each piece."""
    before, after = np.roll(knots, 1, 0), np.roll(knots, -1, 0)
    before[0], after[-1] = (knots[-2], knots[1]) if closed else (knots[0], knots[-1])
    slopes = (after - before) / 2
    if not closed:  # leaves the ends straight
        slopes[0], slopes[-1] = knots[1] - knots[0], knots[-1] - knots[-2]
    t = np.linspace(0, 1, 7)[:, None]
    pieces = [
        (1 + 2 * t) * (1 - t) ** 2 * knots[n]
        + t * (1 - t) ** 2 * slopes[n]
        + t**2 * (3 - 2 * t) * knots[n + 1]
        + t**2 * (t - 1) * slopes[n + 1]
        for n in range(len(knots) - 1)
    ]
    return np.concatenate(pieces)


# Pictures without a digit. Each kind takes the random source and digits to cut up, and gives uint8 (28, 28).


def _ground(random: Random, _: Image28) -> Image28:
    """Nothing: even grey, a gradient, a little grain, a speck."""
    level = random.choice([0.0, 255.0, random.uniform(0, 255)])
    image = np.full((SIDE, SIDE), level)
    if random.random() < 0.4:
        image = image + random.uniform(10, 120) * _slope(random)
    if random.random() < 0.5:
        image = image + random.normal(0, random.uniform(1, 12), image.shape)
    if random.random() < 0.25:
        y, x = random.integers(0, SIDE - 2, 2)
        image[y : y + random.integers(1, 3), x : x + random.integers(1, 3)] = random.uniform(0, 255)
    return _grey(image)


def _noise(random: Random, digits: Image28) -> Image28:
    """Single pixels or blocks of them, over the whole frame or in a patch of it."""
    if random.random() < 0.4:
        block = int(random.integers(2, 6))
        coarse = _noise(random, digits)[: -(-SIDE // block), : -(-SIDE // block)]
        image = np.kron(coarse, np.ones((block, block), np.uint8))[:SIDE, :SIDE]
        return image if random.random() < 0.5 else 255 - image
    if random.random() < 0.4:
        height, width = random.integers(6, 21, 2)
        y, x = random.integers(0, SIDE - height), random.integers(0, SIDE - width)
        image = np.zeros((SIDE, SIDE), np.uint8)
        image[y : y + height, x : x + width] = _noise(random, digits)[:height, :width]
        return normalise(image.astype(np.float32)) if image.any() and random.random() < 0.7 else image
    way = random.integers(4)
    if way == 0:
        return _grey(random.uniform(0, 255, (SIDE, SIDE)) * random.uniform(0.3, 1))
    if way == 1:
        return _grey(random.normal(random.uniform(0, 255), random.uniform(20, 80), (SIDE, SIDE)))
    if way == 2:
        return _grey(255 * _cloud(random, int(random.integers(6, 20))))
    ground, share = random.choice([0, 255]), random.uniform(0.02, 0.5)
    image = np.full((SIDE, SIDE), ground, np.uint8)
    spots = random.random(image.shape) < share
    image[spots] = random.choice([255 - ground, 128]) if random.random() < 0.5 else random.integers(0, 256, spots.sum())
    return image


def _texture(random: Random, _: Image28) -> Image28:
    """Stripes, checks, grids, dots, hatching, at any angle; rings around any point; clouds."""
    angle, period = random.uniform(0, np.pi), random.uniform(2.5, 9)
    y, x = np.mgrid[:SIDE, :SIDE] + random.uniform(0, 9, (2, 1, 1))
    if random.random() < 0.3:
        angle = 0
    u = np.sin((x * np.cos(angle) + y * np.sin(angle)) * 2 * np.pi / period)
    v = np.sin((y * np.cos(angle) - x * np.sin(angle)) * 2 * np.pi / period)
    hard = random.uniform(1, 6)
    middle = random.uniform(-4, SIDE + 13, 2)
    rings = np.sin(np.hypot(x - middle[0], y - middle[1]) * 2 * np.pi / period)
    forms = (u, u * v * 2, np.maximum(u, v) - 0.4, (u + v) - 0.8, np.abs(u) - np.abs(v), rings)
    way = random.integers(len(forms) + 1)
    if way == len(forms):
        return _grey(255 * _cloud(random, int(random.integers(3, 7))))
    low, high = np.sort(random.uniform(0, 255, 2)) + np.array([-20, 40])
    return _grey(low + (high - low) * (0.5 + 0.5 * np.clip(hard * forms[way], -1, 1)))


def _letter(random: Random, _: Image28) -> Image28:
    """Written or printed."""
    if random.random() < PRINTED:
        return _placed(np.asarray(printed.any_letter(random, CANVAS), np.float32), random)
    names = list(LETTERS)
    name, hand = names[random.integers(len(names))], _hand(random)
    if name not in STRAIGHT:
        hand = replace(hand, width=min(hand.width, 0.13))  # a thicker pen fills loops, and makes a 0 of an @
    return _placed(_handwriting(LETTERS[name], hand, random), random)


def _figure(random: Random, _: Image28) -> Image28:
    """Outlines, discs and blobs."""
    if random.random() < 0.75:
        form = np.diag([random.uniform(1, 1.3), 1]) + random.normal(0, 0.08, (2, 2))  # narrow, a box is a 0
        hand = replace(_hand(random), form=form)
        return _placed(_handwriting(FIGURES[random.integers(len(FIGURES))], hand, random), random)
    corners = int(random.choice([*range(3, 12), 24, 24]))
    angles = (np.arange(corners) + random.uniform(0, 0.8, corners)) * (2 * np.pi / corners)
    reach = random.uniform(0.25, 0.5, corners) if random.random() < 0.7 else np.full(corners, 0.45)
    ring = np.stack([np.cos(angles), np.sin(angles)], 1) * reach[:, None] * random.uniform(0.7, 1, 2)
    outline = _spline(np.concatenate([ring, ring[:1]]), True) if random.random() < 0.6 else ring
    return _placed(_filled(outline + 0.5, random), random)


def _scribble(random: Random, _: Image28) -> Image28:
    """Tangles, spirals, zigzags, crossing lines: always more than the few turns that a digit takes."""
    way, hand = random.integers(4), _hand(random)
    hand = replace(hand, width=min(hand.width, 0.09))  # a thicker pen leaves only a blot
    paths: list[Points]
    if way == 0:
        paths = [_spline(random.uniform(0, 1, (random.integers(10, 18), 2)), False)]
    elif way == 1:
        t = np.linspace(0.08, 1, 70)[:, None]
        angle = random.choice([-1, 1]) * t * random.uniform(3, 5) * 2 * np.pi + random.uniform(0, 6.3)
        paths = [0.5 + 0.5 * t * np.concatenate([np.cos(angle), np.sin(angle)], 1)]
    elif way == 2:
        count = random.integers(7, 12)
        along, across = np.linspace(0, 1, count), np.arange(count) % 2 + random.normal(0, 0.1, count)
        zigzag = np.stack([along, across * random.uniform(0.4, 1)], 1)[:, :: random.choice([-1, 1])]
        paths = [_spline(zigzag, False) if random.random() < 0.4 else zigzag]
    else:
        paths = [random.uniform(0, 1, (2, 2)) for _ in range(random.integers(5, 10))]
    image = Image.new("L", (CANVAS, CANVAS))
    pen = ImageDraw.Draw(image)
    for path in paths:
        _draw(pen, CANVAS / 2 + SCALE * (path - 0.5), hand, random)
    return _placed(np.asarray(image, np.float32), random)


def _garment(random: Random, _: Image28) -> Image28:
    return _silhouette(CLOTHES[random.integers(len(CLOTHES))], random)


def _icon(random: Random, _: Image28) -> Image28:
    return _silhouette(THINGS[random.integers(len(THINGS))], random)


def _tool(random: Random, _: Image28) -> Image28:
    turn = random.uniform(0, 2 * np.pi)
    cos, sin = np.cos(turn), np.sin(turn)
    knots = _knots(TOOLS[random.integers(len(TOOLS))]) - 0.5
    ink = _filled(0.5 + knots @ np.array([[cos, sin], [-sin, cos]]), random)
    return normalise(ink) if ink.any() else np.zeros((SIDE, SIDE), np.uint8)


def _silhouette(outline: str, random: Random) -> Image28:
    knots = _knots(outline)
    return _placed(_filled(knots + random.normal(0, 0.015, knots.shape), random), random)


def _chart(random: Random, _: Image28) -> Image28:
    """Axes, with bars or with a curve."""
    image = Image.new("L", (CANVAS, CANVAS))
    pen = ImageDraw.Draw(image)
    count, width = int(random.integers(4, 8)), int(random.integers(3, 9))
    left, low, high = 36, 124, 36
    heights = random.uniform(0.1, 1, count) * (low - high)
    step = (low - left) / count
    if random.random() < 0.5:
        for n, height in enumerate(heights.tolist()):
            x = left + n * step
            pen.rectangle((x + 3, low - height, x + step - 3, low), fill=int(random.integers(120, 256)))
    else:
        pen.line([(left + (n + 0.5) * step, low - height) for n, height in enumerate(heights.tolist())], 255, width)
    pen.line([(left, high), (left, low), (low, low)], 255, width)
    return _placed(np.asarray(image, np.float32), random)


def _photo(random: Random, _: Image28) -> Image28:
    """A piece of a photograph: surfaces in shaded grey that meet in edges, over the whole frame."""
    image = _cloud(random, int(random.integers(2, 6))) + random.uniform(0, 1) * _slope(random)
    for _n in range(random.integers(1, 4)):
        inside = _slope(random) > random.uniform(-0.6, 0.6)
        if random.random() < 0.5:
            inside = _cloud(random, int(random.integers(2, 5))) > random.uniform(0.3, 0.7)
        image = np.where(inside, random.uniform(0.3, 1) * image + random.uniform(-0.5, 0.7), image)
    image = image + random.normal(0, random.uniform(0, 0.08), image.shape)
    low, high = np.sort(random.uniform(0, 255, 2)) + np.array([-30, 50])
    return _grey(low + (high - low) * (image - image.min()) / max(float(np.ptp(image)), 0.1))


def _cut(random: Random, digits: Image28) -> Image28:
    """Pieces of digits: a corner, halves that have changed sides, shuffled quarters.

    Never a lone half, which can be a digit again: the upper one of a 9 is a 0, the right one of an 8 a 3.
    """
    one, two = _unlike(random, digits)
    way, half = random.integers(4), SIDE // 2
    image = np.zeros_like(one)
    if way == 0:  # of which a quarter shows in a corner of the frame
        y, x = random.integers(10, 15, 2)
        image[y:, x:] = one[: SIDE - y, : SIDE - x]
        image = image[:: random.choice([-1, 1]), :: random.choice([-1, 1])]
        if image.any() and _proportion(image) > 0.45:  # a narrow piece is a 1
            return image
        image = np.zeros_like(one)
    if way <= 1:
        image[:, :half], image[:, half:] = two[:, half:], one[:, :half]
    elif way == 2:
        image[:half], image[half:] = two[half:], np.roll(one[:half], int(random.choice([-6, -5, 5, 6])), 1)
    else:
        quarters = [part for row in np.split(one, 2) for part in np.split(row, 2, 1)]
        a, b, c, d = (quarters[n] for n in ((3, 2, 1, 0), (1, 3, 0, 2), (2, 0, 3, 1), (3, 0, 2, 1))[random.integers(4)])
        image = np.block([[a, b], [c, d]])
    return normalise(image.astype(np.float32)) if image.any() and random.random() < 0.5 else image


def _several(random: Random, digits: Image28) -> Image28:
    """Two and more digits: side by side, one above another, over each other, averaged."""
    one, two = _unlike(random, digits)
    way = random.integers(5)
    if way <= 1:
        row = [one, two, digits[random.integers(len(digits))]][: random.integers(2, 4)]
        joined = np.concatenate([_trimmed(image) for image in row], axis=1)
    elif way == 2:
        joined = np.concatenate([_trimmed(image.T).T for image in (one, two)], axis=0)
    elif way == 3:
        shift = int(random.integers(7, 12))
        joined = np.zeros((SIDE, SIDE + shift), np.uint8)
        joined[:, :SIDE] = one
        joined[:, shift:] = np.maximum(joined[:, shift:], two)
    else:
        some = digits[random.integers(len(digits), size=random.integers(3, 7))]
        # Each out of its place: the mean of centred ones is a blurred 8.
        joined = _grey(np.mean([np.roll(image, random.integers(-5, 6, 2), (0, 1)) for image in some], axis=0))
    if not joined.any():
        return np.zeros((SIDE, SIDE), np.uint8)
    if way <= 3 and random.random() < 0.5:
        return np.asarray(Image.fromarray(joined).resize((SIDE, SIDE), Image.Resampling.BOX))
    return normalise(joined.astype(np.float32))


# How many of a hundred pictures are of which kind.
KINDS: dict[Callable[[Random, Image28], Image28], int] = {
    _ground: 3,
    _noise: 7,
    _texture: 7,
    _letter: 32,
    _figure: 9,
    _scribble: 8,
    _garment: 4,
    _icon: 3,
    _tool: 5,
    _chart: 3,
    _photo: 5,
    _cut: 7,
    _several: 7,
}


def _unlike(random: Random, digits: Image28) -> tuple[Image28, Image28]:
    """Two that share little ink: laid together, alike ones would be their digit again."""
    one = digits[random.integers(len(digits))]
    candidates = digits[random.integers(len(digits), size=6)]
    shared = [np.minimum(one, other).sum() / (1 + min(int(one.sum()), int(other.sum()))) for other in candidates]
    return one, candidates[int(np.argmin(shared))]


def _trimmed(image: Image28) -> Image28:
    """Without the empty columns at its sides, but for one each."""
    columns = np.flatnonzero(image.any(axis=0))
    return image[:, max(columns[0] - 1, 0) : columns[-1] + 2] if len(columns) else image


def _proportion(image: Image28) -> float:
    """Width over height of what is not empty; 0 when all is."""
    rows, columns = np.flatnonzero(image.any(axis=1)), np.flatnonzero(image.any(axis=0))
    return (columns[-1] - columns[0] + 1) / (rows[-1] - rows[0] + 1) if len(rows) else 0


def _filled(outline: Points, random: Random) -> Float32Image:
    """A shape on a canvas, from (n, 2) points of the unit square: even, shaded or mottled, at times with a rim."""
    width = random.uniform(0.75, 1.1)
    points = [tuple(point) for point in (CANVAS / 2 + SCALE * (outline - 0.5) * (width, 1)).tolist()]
    image = Image.new("L", (CANVAS, CANVAS))
    pen = ImageDraw.Draw(image)
    pen.polygon(points, fill=255)
    shade = random.uniform(0.4, 1) + random.choice([0, 0.3]) * _slope(random)
    if random.random() < 0.4:
        shade = shade * (0.5 + _cloud(random, int(random.integers(3, 9))))
    shades = Image.fromarray(_grey(np.clip(255 * shade, 40, 255))).resize((CANVAS, CANVAS))
    filled = ImageChops.multiply(image, shades)
    if random.random() < 0.3:
        rim = int(random.choice([0, 255, 255]))
        ImageDraw.Draw(filled).line([*points, points[0]], fill=rim, width=int(random.integers(3, 7)))
    return np.asarray(filled, np.float32)


def _placed(ink: Float32Image, random: Random) -> Image28:
    """What is on the canvas as the service isolates it, or anywhere in the frame in any size and on any ground."""
    if not ink.any():  # a sliver of a shape, under its black rim
        return np.zeros((SIDE, SIDE), np.uint8)
    if random.random() < 0.5:
        return normalise(ink)
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    box = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    scale = random.uniform(10, SIDE) / max(box.shape)
    height, width = (max(1, round(side * scale)) for side in box.shape)
    small = np.asarray(Image.fromarray(box).resize((width, height), Image.Resampling.BOX))
    y, x = random.integers(0, SIDE - height + 1), random.integers(0, SIDE - width + 1)
    image = np.zeros((SIDE, SIDE))
    image[y : y + height, x : x + width] = small * random.uniform(0.5, 1)
    if random.random() < 0.2:
        image = image + random.uniform(0, 100) + random.normal(0, 6, image.shape)
    return _grey(255 - image if random.random() < 0.15 else image)


def _cloud(random: Random, knots: int) -> Float32Image:
    """A smooth random field, (28, 28), 0 to 1; the more knots, the finer."""
    coarse = Image.fromarray(random.random((knots, knots), np.float32))
    field = np.asarray(coarse.resize((SIDE, SIDE), Image.Resampling.BICUBIC), np.float32)
    return np.asarray((field - field.min()) / max(float(np.ptp(field)), 1e-3), np.float32)


def _slope(random: Random) -> Float32Image:
    """A plane through the middle, (28, 28), -1 to 1, that rises in a random direction."""
    angle, along = random.uniform(0, 2 * np.pi), np.linspace(-1, 1, SIDE, dtype=np.float32)
    plane = np.cos(angle) * along + np.sin(angle) * along[:, None]
    return np.asarray(plane / np.abs(plane).max(), np.float32)


def _grey(image: Points) -> Image28:
    """Rounded to whole grey levels, and cut off where there are none."""
    levels: Image28 = np.clip(np.rint(image), 0, 255).astype(np.uint8)
    return levels
