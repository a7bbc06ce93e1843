//go:build !cuda

package cuda

import (
	"github.com/loratool/loratool/format/rule"
	"github.com/loratool/loratool/train/internal/backend"
)

// New returns a *rule.Unsupported: this binary was built without the tag cuda.
func New(Options) (backend.Backend, Info, error) {
	return nil, Info{}, &rule.Unsupported{What: "device cuda in this binary", Hint: "build loratool-cuda: docs/gpu.md"}
}
