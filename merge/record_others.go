package merge

import (
	"fmt"
	"path/filepath"

	"github.com/loratool/loratool/format/safetensors"
)

// maxOther bounds the files beside the weights that a record holds: what a
// merge writes anew is small.
const maxOther = 256 << 20

// others records the files of the base that lie beside its weights, and the
// bytes of those that the output has otherwise or not at all.
func (r *recorder) others() error {
	p := r.plan
	names, _, err := p.base.OtherFiles()
	if err != nil {
		return err
	}
	lost := map[string]bool{SidecarName: true, "config.json": len(p.configEdits()) > 0}
	if index := p.base.Index(); index != nil {
		names = append(names, index.Name)
		lost[index.Name] = !p.sameLayout()
	}
	for _, name := range names {
		path := filepath.Join(p.base.Dir(), filepath.FromSlash(name))
		f, err := fileDigest(path)
		if err != nil {
			return err
		}
		f.Name = name
		if lost[name] {
			if f.Bytes > maxOther {
				return fmt.Errorf("%s: %d bytes are too many for a record", path, f.Bytes)
			}
			data, err := safetensors.ReadRegular(path, maxOther)
			if err != nil {
				return err
			}
			content, err := r.w.PutCompressed(data)
			if err != nil {
				return err
			}
			f.Content = &content
		}
		r.head.Base.Files = append(r.head.Base.Files, f)
	}
	return nil
}
