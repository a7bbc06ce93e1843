package compose

import (
	"fmt"
	"slices"
	"strings"

	"github.com/loratool/loratool/format/rule"
	"github.com/loratool/loratool/internal/text"
)

// A Method is a rule that makes one delta of several.
type Method string

// The methods. Δᵢ = sᵢ·Bᵢ·Aᵢ is the delta of adapter i, wᵢ its weight.
const (
	Sum            Method = "sum"             // Σ wᵢ·Δᵢ, at the least rank that is exact
	Cat            Method = "cat"             // Σ wᵢ·Δᵢ, the factors side by side
	SVD            Method = "svd"             // Σ wᵢ·Δᵢ, the best approximation of a rank
	Linear         Method = "linear"          // as the dialect has it
	TIES           Method = "ties"            // Yadav et al. 2023
	DARELinear     Method = "dare_linear"     // Yu et al. 2024
	DARETIES       Method = "dare_ties"       // both
	MagnitudePrune Method = "magnitude_prune" // the largest elements of each Δᵢ
	KnOTS          Method = "knots"           // Stoica et al. 2025: TIES in a common left basis
	CoreTIES       Method = "core-ties"       // Panariello et al. 2025: TIES in common bases on both sides

	// PEFT's rules on whole deltas; its rules without _svd work on factors.
	TIESSVD           Method = "ties_svd"
	DARELinearSVD     Method = "dare_linear_svd"
	DARETIESSVD       Method = "dare_ties_svd"
	MagnitudePruneSVD Method = "magnitude_prune_svd"
)

// A Dialect says whose definition of a method is followed.
type Dialect string

const (
	Paper    Dialect = "paper"    // the paper that introduced the method, or plain algebra
	PEFT     Dialect = "peft"     // add_weighted_adapter of PEFT 0.21
	Mergekit Dialect = "mergekit" // mergekit 0.1.4
)

// A ruleKind says what a rule is applied to.
type ruleKind uint8

const (
	exactSum    ruleKind = iota // factors side by side, then their singular values
	sideBySide                  // factors side by side
	factorwise                  // elements of A and of B, each on its own
	elementwise                 // elements of the deltas
	leftBasis                   // elements in a common left basis
	coreBasis                   // elements in common bases
)

// A methodRule is a method as a dialect defines it.
type methodRule struct {
	kind      ruleKind
	normalize bool // divide by Σ wᵢ
	elementRule
}

// methods holds every method of every dialect. Sources: the papers; PEFT
// 0.21.2, src/peft/utils/merge_utils.py; mergekit 0.1.4,
// merge_methods/generalized_task_arithmetic.py and sparsify.py.
var methods = map[Dialect]map[Method]methodRule{
	Paper: {
		Linear:         {},
		TIES:           {kind: elementwise, elementRule: elementRule{keep: largestOfAll, consensus: meanOfAgreeing}},
		DARELinear:     {kind: elementwise, elementRule: elementRule{keep: atRandom}},
		DARETIES:       {kind: elementwise, elementRule: elementRule{keep: atRandom, consensus: meanOfAgreeing}},
		MagnitudePrune: {kind: elementwise, elementRule: elementRule{keep: largest}},
		KnOTS:          {kind: leftBasis, elementRule: elementRule{keep: largest, consensus: meanOfAgreeing}},
		CoreTIES:       {kind: coreBasis, elementRule: elementRule{keep: largest, consensus: meanOfAgreeing}},
	},
	PEFT: {
		Linear:            {kind: factorwise},
		TIES:              {kind: factorwise, elementRule: elementRule{keep: largest, consensus: peftConsensus}},
		DARELinear:        {kind: factorwise, elementRule: elementRule{keep: atRandom}},
		DARETIES:          {kind: factorwise, elementRule: elementRule{keep: atRandom, consensus: peftConsensus}},
		MagnitudePrune:    {kind: factorwise, elementRule: elementRule{keep: largest}},
		TIESSVD:           {kind: elementwise, elementRule: elementRule{keep: largest, consensus: peftConsensus}},
		DARELinearSVD:     {kind: elementwise, elementRule: elementRule{keep: atRandom}},
		DARETIESSVD:       {kind: elementwise, elementRule: elementRule{keep: atRandom, consensus: peftConsensus}},
		MagnitudePruneSVD: {kind: elementwise, elementRule: elementRule{keep: largest}},
	},
	Mergekit: {
		Linear:     {normalize: true},
		TIES:       {kind: elementwise, elementRule: elementRule{keep: largest, consensus: weightedMean}},
		DARELinear: {kind: elementwise, elementRule: elementRule{keep: atRandom, rescaleL1: true}},
		DARETIES:   {kind: elementwise, elementRule: elementRule{keep: atRandom, rescaleL1: true, consensus: agreeingSum}},
	},
}

// ParseMethod reads a method as the constants spell it.
func ParseMethod(s string) (Method, error) {
	if m := Method(s); slices.Contains(allMethods(), m) {
		return m, nil
	}
	return "", fmt.Errorf("%s: no such method; expected %s", text.Quote(s), joinMethods(allMethods()))
}

// ParseDialect reads a dialect.
func ParseDialect(s string) (Dialect, error) {
	switch d := Dialect(s); d {
	case Paper, PEFT, Mergekit:
		return d, nil
	}
	return "", fmt.Errorf("%s: no such dialect; expected paper, peft or mergekit", text.Quote(s))
}

// allMethods lists the methods in the order of the constants.
func allMethods() []Method {
	return []Method{Sum, Cat, SVD, Linear, TIES, DARELinear, DARETIES, MagnitudePrune, KnOTS, CoreTIES,
		TIESSVD, DARELinearSVD, DARETIESSVD, MagnitudePruneSVD}
}

func joinMethods(list []Method) string {
	words := make([]string, len(list))
	for i, m := range list {
		words[i] = string(m)
	}
	return strings.Join(words, ", ")
}

// rule finds the rule of the options' method.
func (o Options) rule() (methodRule, error) {
	method, dialect := o.Method, o.Dialect
	if method == "" {
		method = Sum
	}
	if dialect == "" {
		dialect = Paper
	}
	var r methodRule
	switch method {
	case Sum, SVD:
	case Cat:
		r.kind = sideBySide
	default:
		found, ok := methods[dialect][method]
		if !ok {
			return r, &rule.Unsupported{What: fmt.Sprintf("method %s of dialect %s", method, dialect), Hint: "its methods are sum, cat, svd, " + joinMethods(methodsOf(dialect))}
		}
		r = found
	}
	if r.keep != all && !(o.Density > 0 && o.Density <= 1) {
		return r, fmt.Errorf("method %s keeps a share of the elements: give a density above 0 and up to 1", method)
	}
	return r, nil
}

// methodsOf lists the methods that a dialect defines.
func methodsOf(d Dialect) (list []Method) {
	for _, m := range allMethods() {
		if _, ok := methods[d][m]; ok {
			list = append(list, m)
		}
	}
	return list
}

// Check returns an error for options that no adapters could make sense of: a
// density that a method needs or has no use for.
func (o Options) Check() error {
	r, err := o.rule()
	if err == nil && r.keep == all && o.Density != 0 {
		return fmt.Errorf("method %s keeps all elements: a density has no effect", o.Method)
	}
	return err
}
