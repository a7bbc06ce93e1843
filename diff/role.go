package diff

import (
	"slices"
	"strings"

	"github.com/loratool/loratool/format/adapter"
	"github.com/loratool/loratool/format/dtype"
)

// A role is what a tensor of a checkpoint is to an adapter: the weight of a
// module that low-rank factors can change, or the reason why it is none.
type role struct {
	kind       adapter.Kind
	path       string // of the module, as it is named in memory
	param      string // of the module, "" for its weight
	transposed bool   // stored as [in, out]
	planes     int    // experts of a stack, else 1
	rows, cols int    // of one plane as it is stored
	why        string // not "" if there can be no factors
}

// roleOf tells the role of a tensor from its name in memory, its shape and
// dtype, the model_type of the base, and what is known of its layers.
func roleOf(name string, shape []int, d dtype.DType, model string, known *namer) role {
	path, isWeight := strings.CutSuffix(name, ".weight")
	r := role{path: path, planes: 1}
	byParameter := known.byParameter(name)
	switch {
	case !d.Float():
		r.why = "dtype " + d.String()
	case len(shape) < 2:
		r.why = "not a matrix"
	case byParameter && len(shape) == 3:
		r.stack(name, shape, model)
	case byParameter && len(shape) == 2:
		r.param, r.rows, r.cols = "weight", shape[0], shape[1]
	case byParameter:
		r.why = "of a module that PEFT cannot adapt"
	case len(shape) == 3 && !isWeight && strings.Contains(path, "experts"):
		r.stack(path, shape, model)
	case !isWeight:
		r.why = "not the weight of a module"
	case len(shape) == 2:
		r.rows, r.cols = shape[0], shape[1]
		r.transposed = adapter.StoresTransposed(model, path)
		if known.embeds(name) {
			r.kind = adapter.Embedding
		}
	case len(shape) > 5:
		r.why = "more than five dimensions"
	case shape[1] == 1 && shape[0] > 1:
		r.why = "depthwise convolution"
	default:
		r.kind, r.rows, r.cols = adapter.Conv, shape[0], 1
		for _, n := range shape[1:] {
			r.cols *= n
		}
	}
	return r
}

// stack is the role of a parameter that holds all experts of a layer.
func (r *role) stack(path string, shape []int, model string) {
	dot := strings.LastIndexByte(path, '.')
	r.kind, r.path, r.param = adapter.Stack, path[:max(dot, 0)], path[dot+1:]
	r.planes, r.rows, r.cols = shape[0], shape[1], shape[2]
	r.transposed = adapter.StacksTransposed(model)
	if r.path == "" {
		r.why = "not the parameter of a module"
	}
}

// positionNames are last components of the paths of embeddings that
// adapter.IsEmbedding does not list: of positions and of token types.
var positionNames = []string{"wpe", "embed_positions", "position_embeddings", "token_type_embeddings", "position_embedding", "positions_embed", "pos_embed", "relative_attention_bias"}

// embedsTokens reports whether a path is that of a torch Embedding.
func embedsTokens(path string) bool {
	last := path[strings.LastIndexByte(path, '.')+1:]
	return slices.Contains(positionNames, last) || adapter.IsEmbedding(path)
}

// factorA reports whether the left singular vectors of the stored matrix make
// A: those of an embedding, [vocabulary, d], and of a transposed weight.
func (r role) factorA() bool { return r.kind == adapter.Embedding || r.transposed }
