"""The publications that the methods of a run come from, as text and as BibTeX."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

OTHERS = "others"
"""In place of the last authors of a long list, as BibTeX has it."""


@dataclass(frozen=True, slots=True)
class Reference:
    """One publication.

    Attributes:
        key: Its key in BibTeX.
        authors: "Given Family"; particles such as "van der" belong to the family name and are
            joined to it by "~".
        title: Its title.
        year: When it was published.
        venue: Journal, or conference; "" of a preprint or a program.
        journal: Whether the venue is a journal.
        volume: Of the journal.
        pages: Of the journal or the proceedings.
        arxiv: Number of the preprint.
        doi: Digital object identifier.
        url: Where it is, if it has neither.
    """

    key: str
    authors: tuple[str, ...]
    title: str
    year: int
    venue: str = ""
    journal: bool = False
    volume: str = ""
    pages: str = ""
    arxiv: str = ""
    doi: str = ""
    url: str = ""

    @property
    def text(self) -> str:
        """The reference as one line of plain text."""
        names = [name.replace("~", " ") for name in self.authors]
        if OTHERS in names or len(names) > 3:
            who = f"{names[0]} et al."
        else:
            who = " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
            who += "." if not who.endswith(".") else ""
        where = " ".join(filter(None, [self.venue, self.volume]))
        where = f"{where}:{self.pages}" if where and self.pages else where
        where = where or (f"arXiv:{self.arxiv}" if self.arxiv else "")
        link = f"doi:{self.doi}" if self.doi else self.url
        if self.venue and self.arxiv and not link:
            link = f"arXiv:{self.arxiv}"
        rest = ", ".join(filter(None, [where, str(self.year), link]))
        return f"{who} {self.title}. {rest}."

    @property
    def link(self) -> str:
        """Where it can be read; "" if nowhere known."""
        if self.doi:
            return f"https://doi.org/{self.doi}"
        return f"https://arxiv.org/abs/{self.arxiv}" if self.arxiv else self.url

    @property
    def bibtex(self) -> str:
        """The reference as an entry of BibTeX, in ASCII."""
        kind, venue = ("article", "journal") if self.journal else ("inproceedings", "booktitle")
        if not self.venue:
            kind = "misc"
        authors = " and ".join(map(_bibtex_name, self.authors))
        fields = {
            "author": f"{{{_ascii(authors)}}}",
            # A second pair of braces keeps the capitals.
            "title": f"{{{{{_ascii(self.title)}}}}}",
            venue: f"{{{_ascii(self.venue)}}}" if self.venue else "",
            "volume": f"{{{self.volume}}}" if self.volume else "",
            "pages": f"{{{self.pages.replace('-', '--')}}}" if self.pages else "",
            "year": f"{{{self.year}}}",
            "eprint": f"{{{self.arxiv}}}" if self.arxiv else "",
            "archiveprefix": "{arXiv}" if self.arxiv else "",
            "doi": f"{{{self.doi}}}" if self.doi else "",
            "howpublished": f"{{\\url{{{self.url}}}}}" if self.url else "",
        }
        if kind == "misc" and self.arxiv:
            fields["howpublished"] = f"{{arXiv:{self.arxiv}}}"
        lines = [f"  {name} = {value}," for name, value in fields.items() if value]
        return "\n".join([f"@{kind}{{{self.key},", *lines, "}"])


def bibliography(keys: Iterable[str]) -> str:
    """Return the BibTeX file of some references, by their keys."""
    return "\n\n".join(REFERENCES[key].bibtex for key in keys) + "\n"


_NUMBER = re.compile(r"arXiv (\d{4}\.\d{4,5})|doi (10\.\S+)")


def reference_of(source: str) -> str:
    """Return the key of the reference that a source names by arXiv number or DOI; "" if none.

    Example:
        >>> reference_of("Zhou et al. 2016, arXiv 1512.04150")
        'zhou2016cam'
    """
    found = _NUMBER.search(source)
    if found is None:
        return ""
    arxiv, doi = found.groups()
    for key, one in REFERENCES.items():
        if (arxiv and one.arxiv == arxiv) or (doi and one.doi == doi):
            return key
    return ""


_ACCENTS = {
    "ä": r"{\"a}",
    "ö": r"{\"o}",
    "ü": r"{\"u}",
    "é": r"{\'e}",
    "á": r"{\'a}",
    "ç": r"{\c{c}}",
}


def _ascii(text: str) -> str:
    return "".join(_ACCENTS.get(mark, mark) for mark in text)


def _bibtex_name(name: str) -> str:
    given, _, family = name.rpartition(" ")
    family = family.replace("~", " ")
    return f"{family}, {given}" if given else family


def _table(*references: Reference) -> Mapping[str, Reference]:
    return {one.key: one for one in references}


REFERENCES = _table(
    Reference(
        "maruf2023beyond",
        ("M. Maruf", "Arka Daw", "Amartya Dutta", "Jie Bu", "Anuj Karpatne"),
        "Beyond Discriminative Regions: Saliency Maps as Alternatives to CAMs for Weakly "
        "Supervised Semantic Segmentation",
        2023,
        arxiv="2308.11052",
    ),
    # Attribution methods.
    Reference(
        "zhou2016cam",
        ("Bolei Zhou", "Aditya Khosla", "Agata Lapedriza", "Aude Oliva", "Antonio Torralba"),
        "Learning Deep Features for Discriminative Localization",
        2016,
        "CVPR",
        arxiv="1512.04150",
    ),
    Reference(
        "selvaraju2017gradcam",
        (
            "Ramprasaath R. Selvaraju",
            "Michael Cogswell",
            "Abhishek Das",
            "Ramakrishna Vedantam",
            "Devi Parikh",
            "Dhruv Batra",
        ),
        "Grad-CAM: Visual Explanations from Deep Networks via Gradient-Based Localization",
        2017,
        "ICCV",
        arxiv="1610.02391",
    ),
    Reference(
        "chattopadhay2018gradcampp",
        (
            "Aditya Chattopadhay",
            "Anirban Sarkar",
            "Prantik Howlader",
            "Vineeth N. Balasubramanian",
        ),
        "Grad-CAM++: Generalized Gradient-Based Visual Explanations for Deep Convolutional "
        "Networks",
        2018,
        "WACV",
        arxiv="1710.11063",
    ),
    Reference(
        "jiang2021layercam",
        (
            "Peng-Tao Jiang",
            "Chang-Bin Zhang",
            "Qibin Hou",
            "Ming-Ming Cheng",
            "Yunchao Wei",
        ),
        "LayerCAM: Exploring Hierarchical Class Activation Maps for Localization",
        2021,
        "IEEE Transactions on Image Processing",
        journal=True,
        volume="30",
        pages="5875-5888",
        doi="10.1109/TIP.2021.3089943",
    ),
    Reference(
        "simonyan2013deep",
        ("Karen Simonyan", "Andrea Vedaldi", "Andrew Zisserman"),
        "Deep Inside Convolutional Networks: Visualising Image Classification Models and "
        "Saliency Maps",
        2013,
        arxiv="1312.6034",
    ),
    Reference(
        "shrikumar2016black",
        ("Avanti Shrikumar", "Peyton Greenside", "Anna Shcherbina", "Anshul Kundaje"),
        "Not Just a Black Box: Learning Important Features Through Propagating Activation "
        "Differences",
        2016,
        arxiv="1605.01713",
    ),
    Reference(
        "srinivas2019fullgrad",
        ("Suraj Srinivas", "François Fleuret"),
        "Full-Gradient Representation for Neural Network Visualization",
        2019,
        "NeurIPS",
        arxiv="1905.00780",
    ),
    Reference(
        "springenberg2014striving",
        (
            "Jost Tobias Springenberg",
            "Alexey Dosovitskiy",
            "Thomas Brox",
            "Martin Riedmiller",
        ),
        "Striving for Simplicity: The All Convolutional Net",
        2014,
        arxiv="1412.6806",
    ),
    Reference(
        "abnar2020rollout",
        ("Samira Abnar", "Willem Zuidema"),
        "Quantifying Attention Flow in Transformers",
        2020,
        "ACL",
        arxiv="2005.00928",
    ),
    Reference(
        "chefer2021generic",
        ("Hila Chefer", "Shir Gur", "Lior Wolf"),
        "Generic Attention-model Explainability for Interpreting Bi-Modal and Encoder-Decoder "
        "Transformers",
        2021,
        "ICCV",
        arxiv="2103.15679",
    ),
    Reference(
        "bousselham2024legrad",
        ("Walid Bousselham", "Angie Boggust", OTHERS),
        "LeGrad: An Explainability Method for Vision Transformers via Feature Formation "
        "Sensitivity",
        2024,
        arxiv="2404.03214",
    ),
    Reference(
        "leem2024agcam",
        ("Saebom Leem", "Hyunseok Seo"),
        "Attention Guided CAM: Visual Explanations of Vision Transformer Guided by Self-Attention",
        2024,
        "AAAI",
        arxiv="2402.04563",
    ),
    Reference(
        "bach2015lrp",
        ("Sebastian Bach", "Alexander Binder", OTHERS),
        "On Pixel-Wise Explanations for Non-Linear Classifier Decisions by Layer-Wise Relevance "
        "Propagation",
        2015,
        "PLoS ONE",
        journal=True,
        volume="10",
        doi="10.1371/journal.pone.0130140",
    ),
    Reference(
        "lin2023clipes",
        ("Yuqi Lin", "Minghao Chen", OTHERS),
        "CLIP is Also an Efficient Segmenter: A Text-Driven Approach for Weakly Supervised "
        "Semantic Segmentation",
        2023,
        "CVPR",
        arxiv="2212.09506",
    ),
    Reference(
        "sundararajan2017axiomatic",
        ("Mukund Sundararajan", "Ankur Taly", "Qiqi Yan"),
        "Axiomatic Attribution for Deep Networks",
        2017,
        "ICML",
        arxiv="1703.01365",
    ),
    Reference(
        "shrikumar2017deeplift",
        ("Avanti Shrikumar", "Peyton Greenside", "Anshul Kundaje"),
        "Learning Important Features Through Propagating Activation Differences",
        2017,
        "ICML",
        arxiv="1704.02685",
    ),
    Reference(
        "zeiler2014visualizing",
        ("Matthew D. Zeiler", "Rob Fergus"),
        "Visualizing and Understanding Convolutional Networks",
        2014,
        "ECCV",
        arxiv="1311.2901",
    ),
    # Samples, and what becomes of them.
    Reference(
        "smilkov2017smoothgrad",
        (
            "Daniel Smilkov",
            "Nikhil Thorat",
            "Been Kim",
            "Fernanda Viégas",
            "Martin Wattenberg",
        ),
        "SmoothGrad: removing noise by adding noise",
        2017,
        arxiv="1706.03825",
    ),
    Reference(
        "singh2017hide",
        ("Krishna Kumar Singh", "Yong Jae Lee"),
        "Hide-and-Seek: Forcing a Network to be Meticulous for Weakly-supervised Object and "
        "Action Localization",
        2017,
        "ICCV",
        arxiv="1704.04232",
    ),
    Reference(
        "tursun2022sess",
        ("Osman Tursun", "Simon Denman", "Sridha Sridharan", "Clinton Fookes"),
        "SESS: Saliency Enhancing with Scaling and Sliding",
        2022,
        "ECCV",
        arxiv="2207.01769",
    ),
    Reference(
        "ahn2018psa",
        ("Jiwoon Ahn", "Suha Kwak"),
        "Learning Pixel-level Semantic Affinity with Image-level Supervision for Weakly "
        "Supervised Semantic Segmentation",
        2018,
        "CVPR",
        arxiv="1803.10464",
    ),
    Reference(
        "ahn2019irn",
        ("Jiwoon Ahn", "Sunghyun Cho", "Suha Kwak"),
        "Weakly Supervised Learning of Instance Segmentation with Inter-pixel Relations",
        2019,
        "CVPR",
        arxiv="1904.05044",
    ),
    # Masks.
    Reference(
        "krahenbuhl2011crf",
        ("Philipp Krähenbühl", "Vladlen Koltun"),
        "Efficient Inference in Fully Connected CRFs with Gaussian Edge Potentials",
        2011,
        "NIPS",
        arxiv="1210.5644",
    ),
    Reference(
        "chen2023sepl",
        ("Tianle Chen", "Zheda Mai", "Ruiwen Li", "Wei-lun Chao"),
        "Segment Anything Model (SAM) Enhanced Pseudo Labels for Weakly Supervised Semantic "
        "Segmentation",
        2023,
        arxiv="2305.05803",
    ),
    Reference(
        "achanta2012slic",
        (
            "Radhakrishna Achanta",
            "Appu Shaji",
            "Kevin Smith",
            "Aurelien Lucchi",
            "Pascal Fua",
            "Sabine Süsstrunk",
        ),
        "SLIC Superpixels Compared to State-of-the-Art Superpixel Methods",
        2012,
        "IEEE Transactions on Pattern Analysis and Machine Intelligence",
        journal=True,
        volume="34",
        pages="2274-2282",
        doi="10.1109/TPAMI.2012.120",
    ),
    Reference(
        "felzenszwalb2004graph",
        ("Pedro F. Felzenszwalb", "Daniel P. Huttenlocher"),
        "Efficient Graph-Based Image Segmentation",
        2004,
        "International Journal of Computer Vision",
        journal=True,
        volume="59",
        pages="167-181",
    ),
    # Networks.
    Reference(
        "he2016resnet",
        ("Kaiming He", "Xiangyu Zhang", "Shaoqing Ren", "Jian Sun"),
        "Deep Residual Learning for Image Recognition",
        2016,
        "CVPR",
        arxiv="1512.03385",
    ),
    Reference(
        "simonyan2015vgg",
        ("Karen Simonyan", "Andrew Zisserman"),
        "Very Deep Convolutional Networks for Large-Scale Image Recognition",
        2015,
        "ICLR",
        arxiv="1409.1556",
    ),
    Reference(
        "huang2017densenet",
        ("Gao Huang", "Zhuang Liu", "Laurens van~der~Maaten", "Kilian Q. Weinberger"),
        "Densely Connected Convolutional Networks",
        2017,
        "CVPR",
        arxiv="1608.06993",
    ),
    Reference(
        "sandler2018mobilenetv2",
        (
            "Mark Sandler",
            "Andrew Howard",
            "Menglong Zhu",
            "Andrey Zhmoginov",
            "Liang-Chieh Chen",
        ),
        "MobileNetV2: Inverted Residuals and Linear Bottlenecks",
        2018,
        "CVPR",
        arxiv="1801.04381",
    ),
    Reference(
        "howard2019mobilenetv3",
        ("Andrew Howard", "Mark Sandler", "Grace Chu", OTHERS),
        "Searching for MobileNetV3",
        2019,
        "ICCV",
        arxiv="1905.02244",
    ),
    Reference(
        "tan2019efficientnet",
        ("Mingxing Tan", "Quoc V. Le"),
        "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks",
        2019,
        "ICML",
        arxiv="1905.11946",
    ),
    Reference(
        "liu2022convnext",
        (
            "Zhuang Liu",
            "Hanzi Mao",
            "Chao-Yuan Wu",
            "Christoph Feichtenhofer",
            "Trevor Darrell",
            "Saining Xie",
        ),
        "A ConvNet for the 2020s",
        2022,
        "CVPR",
        arxiv="2201.03545",
    ),
    Reference(
        "dosovitskiy2021vit",
        ("Alexey Dosovitskiy", "Lucas Beyer", "Alexander Kolesnikov", OTHERS),
        "An Image is Worth 16x16 Words: Transformers for Image Recognition at Scale",
        2021,
        "ICLR",
        arxiv="2010.11929",
    ),
    Reference(
        "liu2021swin",
        ("Ze Liu", "Yutong Lin", "Yue Cao", OTHERS),
        "Swin Transformer: Hierarchical Vision Transformer using Shifted Windows",
        2021,
        "ICCV",
        arxiv="2103.14030",
    ),
    Reference(
        "oquab2023dinov2",
        ("Maxime Oquab", "Timothée Darcet", OTHERS),
        "DINOv2: Learning Robust Visual Features without Supervision",
        2023,
        arxiv="2304.07193",
    ),
    Reference(
        "chen2017rethinking",
        ("Liang-Chieh Chen", "George Papandreou", "Florian Schroff", "Hartwig Adam"),
        "Rethinking Atrous Convolution for Semantic Image Segmentation",
        2017,
        arxiv="1706.05587",
    ),
    Reference(
        "long2015fcn",
        ("Jonathan Long", "Evan Shelhamer", "Trevor Darrell"),
        "Fully Convolutional Networks for Semantic Segmentation",
        2015,
        "CVPR",
        arxiv="1411.4038",
    ),
    # Training.
    Reference(
        "loshchilov2019adamw",
        ("Ilya Loshchilov", "Frank Hutter"),
        "Decoupled Weight Decay Regularization",
        2019,
        "ICLR",
        arxiv="1711.05101",
    ),
    Reference(
        "smith2017super",
        ("Leslie N. Smith", "Nicholay Topin"),
        "Super-Convergence: Very Fast Training of Neural Networks Using Large Learning Rates",
        2017,
        arxiv="1708.07120",
    ),
    Reference(
        "chen2018deeplab",
        (
            "Liang-Chieh Chen",
            "George Papandreou",
            "Iasonas Kokkinos",
            "Kevin Murphy",
            "Alan L. Yuille",
        ),
        "DeepLab: Semantic Image Segmentation with Deep Convolutional Nets, Atrous Convolution, "
        "and Fully Connected CRFs",
        2018,
        "IEEE Transactions on Pattern Analysis and Machine Intelligence",
        journal=True,
        volume="40",
        pages="834-848",
        arxiv="1606.00915",
    ),
    Reference(
        "polyak1992averaging",
        ("B. T. Polyak", "A. B. Juditsky"),
        "Acceleration of Stochastic Approximation by Averaging",
        1992,
        "SIAM Journal on Control and Optimization",
        journal=True,
        volume="30",
        pages="838-855",
    ),
    Reference(
        "russakovsky2015imagenet",
        ("Olga Russakovsky", "Jia Deng", "Hao Su", OTHERS),
        "ImageNet Large Scale Visual Recognition Challenge",
        2015,
        "International Journal of Computer Vision",
        journal=True,
        volume="115",
        pages="211-252",
        arxiv="1409.0575",
    ),
    # Data.
    Reference(
        "everingham2010voc",
        (
            "Mark Everingham",
            "Luc Van~Gool",
            "Christopher K. I. Williams",
            "John Winn",
            "Andrew Zisserman",
        ),
        "The Pascal Visual Object Classes (VOC) Challenge",
        2010,
        "International Journal of Computer Vision",
        journal=True,
        volume="88",
        pages="303-338",
    ),
    Reference(
        "hariharan2011sbd",
        (
            "Bharath Hariharan",
            "Pablo Arbeláez",
            "Lubomir Bourdev",
            "Subhransu Maji",
            "Jitendra Malik",
        ),
        "Semantic Contours from Inverse Detectors",
        2011,
        "ICCV",
    ),
    Reference(
        "lin2014coco",
        ("Tsung-Yi Lin", "Michael Maire", "Serge Belongie", OTHERS),
        "Microsoft COCO: Common Objects in Context",
        2014,
        "ECCV",
        arxiv="1405.0312",
    ),
    # Evaluation.
    Reference(
        "efron1979bootstrap",
        ("Bradley Efron",),
        "Bootstrap Methods: Another Look at the Jackknife",
        1979,
        "The Annals of Statistics",
        journal=True,
        volume="7",
        pages="1-26",
    ),
    Reference(
        "adebayo2018sanity",
        (
            "Julius Adebayo",
            "Justin Gilmer",
            "Michael Muelly",
            "Ian Goodfellow",
            "Moritz Hardt",
            "Been Kim",
        ),
        "Sanity Checks for Saliency Maps",
        2018,
        "NeurIPS",
        arxiv="1810.03292",
    ),
    Reference(
        "petsiuk2018rise",
        ("Vitali Petsiuk", "Abir Das", "Kate Saenko"),
        "RISE: Randomized Input Sampling for Explanation of Black-box Models",
        2018,
        "BMVC",
        arxiv="1806.07421",
    ),
    # Programs.
    Reference(
        "paszke2019pytorch",
        ("Adam Paszke", "Sam Gross", "Francisco Massa", OTHERS),
        "PyTorch: An Imperative Style, High-Performance Deep Learning Library",
        2019,
        "NeurIPS",
        arxiv="1912.01703",
    ),
    Reference(
        "harris2020numpy",
        ("Charles R. Harris", "K. Jarrod Millman", OTHERS),
        "Array programming with NumPy",
        2020,
        "Nature",
        journal=True,
        volume="585",
        pages="357-362",
        doi="10.1038/s41586-020-2649-2",
    ),
    Reference(
        "molder2021snakemake",
        ("Felix Mölder", "Kim Philipp Jablonski", OTHERS),
        "Sustainable data analysis with Snakemake",
        2021,
        "F1000Research",
        journal=True,
        volume="10",
        pages="33",
        doi="10.12688/f1000research.29032",
    ),
    Reference(
        "kokhlikyan2020captum",
        ("Narine Kokhlikyan", "Vivek Miglani", "Miguel Martin", OTHERS),
        "Captum: A unified and generic model interpretability library for PyTorch",
        2020,
        arxiv="2009.07896",
    ),
    Reference(
        "wightman2019timm",
        ("Ross Wightman",),
        "PyTorch Image Models",
        2019,
        url="https://github.com/huggingface/pytorch-image-models",
    ),
    Reference(
        "iakubovskii2019smp",
        ("Pavel Iakubovskii",),
        "Segmentation Models Pytorch",
        2019,
        url="https://github.com/qubvel/segmentation_models.pytorch",
    ),
    Reference(
        "gildenblat2021gradcam",
        ("Jacob Gildenblat", OTHERS),
        "PyTorch library for CAM methods",
        2021,
        url="https://github.com/jacobgil/pytorch-grad-cam",
    ),
)
"""All references by key; a run's text names those that it is made with."""

__all__ = ["REFERENCES", "Reference", "bibliography", "reference_of"]
