//go:build !cuda

package cuda

import (
	"github.com/loratool/loratool/format/rule"
	"github.com/loratool/loratool/train/internal/backend"
)

var errNone = &rule.Unsupported{What: "device cuda in this binary", Hint: "build loratool-cuda: docs/gpu.md"}

// New returns a *rule.Unsupported: this binary was built without the tag cuda.
func New(Options) (backend.Backend, Info, error) {
	return nil, Info{}, errNone
}

// Compare returns a *rule.Unsupported too.
func Compare(Options) ([]Check, Info, error) { return nil, Info{}, errNone }
