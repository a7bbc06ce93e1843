package train

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"

	"github.com/loratool/loratool/format/checkpoint"
	"github.com/loratool/loratool/internal/text"
	"github.com/loratool/loratool/train/internal/model"
)

// weights gives a model the tensors of a checkpoint.
type weights struct{ c *checkpoint.Checkpoint }

// Tensor returns a view of a tensor.
func (w weights) Tensor(name string) (model.Stored, bool) {
	shard, t, ok := w.c.Lookup(name)
	if !ok {
		return model.Stored{}, false
	}
	return model.Stored{DType: t.DType, Shape: t.Shape, Bytes: w.c.Bytes(shard, t)}, true
}

// describe reads what config.json says of a base.
func describe(base *checkpoint.Checkpoint) (*model.Desc, error) {
	config, err := base.Config()
	if err != nil {
		return nil, err
	}
	if config == nil {
		return nil, fmt.Errorf("base %s has no config.json: give the folder of a model", text.Quote(base.Dir()))
	}
	return model.Describe(config.Value)
}

// fingerprint identifies the base by the names, dtypes, shapes and first
// bytes of its tensors.
func fingerprint(base *checkpoint.Checkpoint) string {
	const most = 4096 // bytes of each tensor
	h := sha256.New()
	for _, name := range base.Names() {
		shard, t, _ := base.Lookup(name)
		b := base.Bytes(shard, t)
		fmt.Fprintf(h, "%q %s %v %d\n", name, t.DType, t.Shape, len(b))
		h.Write(b[:min(most, len(b))])
		h.Write(binary.LittleEndian.AppendUint64(nil, uint64(len(b))))
	}
	return hex.EncodeToString(h.Sum(nil))
}
