package compose

import (
	"context"

	"github.com/loratool/loratool/format/adapter"
	"github.com/loratool/loratool/internal/lowrank"
)

// Rerank returns a at the ranks that the rules ask for: of every module the
// best approximation of its delta (Eckart and Young 1936), from the factors
// alone. The scaling of each module stays; alpha follows the rank. Modules that
// have their rank already stay as they are, byte for byte.
//
// A DoRA module keeps its magnitude: the merged weight is m·(W+Δ)/‖W+Δ‖ by
// rows, so its rows have the norms m whatever Δ is, and what truncation changes
// is their direction alone.
func Rerank(ctx context.Context, a *adapter.Adapter, rules lowrank.Rules, o Options) (*adapter.Adapter, *Report, error) {
	o.Method, o.Dialect, o.Rank = SVD, Paper, &rules
	return Compose(ctx, []Weighted{{a, 1}}, o)
}
