"""The methods text of a comparison of groups, with the papers to cite."""

from __future__ import annotations

import math
from dataclasses import dataclass

from pipeline.groups.power import LEVEL
from pipeline.report.group_comparison import GroupComparison

SMYTH = (
    "Smyth G. K. (2004) Linear models and empirical Bayes methods for assessing differential expression in"
    " microarray experiments. Statistical Applications in Genetics and Molecular Biology 3, article 3."
    " doi:10.2202/1544-6115.1027"
)
RITCHIE = (
    "Ritchie M. E. et al. (2015) limma powers differential expression analyses for RNA-sequencing and"
    " microarray studies. Nucleic Acids Research 43, e47. doi:10.1093/nar/gkv007"
)
ANDERS = (
    "Anders S., Huber W. (2010) Differential expression analysis for sequence count data. Genome Biology 11,"
    " R106. doi:10.1186/gb-2010-11-10-r106"
)
BENJAMINI = (
    "Benjamini Y., Hochberg Y. (1995) Controlling the false discovery rate: a practical and powerful approach"
    " to multiple testing. Journal of the Royal Statistical Society B 57, 289-300."
)
SETS = {
    "summary": (
        "the finest structures that are no layers and hold at least .1 mm3, of which none lies inside another"
    ),
    "leaves": "the structures that hold no other structure with data",
}


@dataclass(frozen=True)
class GroupMethods:
    """Paragraphs and citations."""

    paragraphs: tuple[str, ...]
    citations: tuple[str, ...]


def group_methods(found: GroupComparison) -> GroupMethods:
    """Write the methods of a comparison.

    Parameters
    ----------
    found : GroupComparison
        The comparison.

    Returns
    -------
    GroupMethods
        Text and citations.
    """
    texts = [_values(found), *([_centring()] if found.centred else []), _weights(found), _tests(found)]
    centring = [ANDERS] if found.centred else []
    return GroupMethods(tuple(texts), (SMYTH, RITCHIE, *centring, BENJAMINI))


def _values(found: GroupComparison) -> str:
    several = len(found.series) > len(found.animals)
    averaged = (
        " Series of one animal were averaged, with the inverse squares of their own errors as weights, so"
        " that an animal counts once."
        if several
        else ""
    )
    chosen = SETS.get(found.structures, f"those of the list {found.structures}")
    return (
        f"{len(found.series)} series of {len(found.animals)} animals were compared by {found.measure}, as"
        " ln(E + e0) with e0 = 2 % of the brain's value + .01, in"
        f" {len(found.keys)} structures: {chosen}. Numbers with a coverage below .5 were left out.{averaged}"
    )


def _centring() -> str:
    return (
        "Animals were put on one scale by the median over structures of the log ratio to the mean of all"
        " series (Anders and Huber 2010). The offset between groups was then found once more as the biweight"
        " location of the structures' effects, so that structures that changed do not count. A change of all"
        " structures alike cannot be seen in this way."
    )


def _weights(found: GroupComparison) -> str:
    function = found.result.variance_function
    if function is None:
        return "The numbers state no errors of their own, so all animals weigh alike."
    return (
        "The expected variance of a number was fitted as a function of its own stated error, by restricted"
        " marginal likelihood over all structures: to the power"
        f" {2 * function.own_power:.2f} of the error relative to that of the structure, in"
        f" {function.own_share:.0%} of the variance, and to the power {2 * function.typical_power:.2f} of the"
        f" structure's error relative to others, in {function.typical_share:.0%}. Weights are its inverse:"
        " stated errors count as far as the scatter of the animals bears them out."
    )


def _tests(found: GroupComparison) -> str:
    tests = found.result.tests
    prior = "infinitely many" if math.isinf(tests.prior_freedom) else f"{tests.prior_freedom:.1f}"
    adjusted = f", adjusted for {', '.join(found.covariates)}" if found.covariates else ""
    first, second = found.groups[:2]
    return (
        f"A weighted linear model of {found.group}{adjusted} was fitted to each structure. Residual variances"
        " were moderated by empirical Bayes (Smyth 2004, as in limma; prior"
        f" {math.sqrt(tests.prior_variance):.3f} squared with {prior} degrees of freedom). Effects are"
        f" {second} minus {first}, natural logarithms, with 95 % intervals; q values are by Benjamini and"
        f" Hochberg over all rows, called at {LEVEL:g}. Welch's t test of the unweighted values stands beside"
        " them for comparison."
    )
