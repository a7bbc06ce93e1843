package safetensors

import "hash/maphash"

// A nameSet finds tensors by name. It holds 4 bytes per slot, where a map
// would hold the names again; its seed is random, so that no file can make
// its names collide.
type nameSet struct {
	seed  maphash.Seed
	slots []uint32 // index into the tensors plus 1; 0 is free; a power of two long
	used  int
}

// find returns the index of the tensor of that name.
func (s *nameSet) find(name string, tensors []Tensor) (int, bool) {
	if len(s.slots) == 0 {
		return 0, false
	}
	for i := s.slot(name); s.slots[i] != 0; i = (i + 1) & (len(s.slots) - 1) {
		if k := int(s.slots[i] - 1); tensors[k].Name == name {
			return k, true
		}
	}
	return 0, false
}

func (s *nameSet) slot(name string) int {
	return int(maphash.String(s.seed, name) & uint64(len(s.slots)-1))
}

// add enters tensors[k], whose name must not be in the set.
func (s *nameSet) add(k int, tensors []Tensor) {
	if s.used++; 4*s.used > 3*len(s.slots) {
		s.grow(2*s.used, tensors[:k])
	}
	i := s.slot(tensors[k].Name)
	for s.slots[i] != 0 {
		i = (i + 1) & (len(s.slots) - 1)
	}
	s.slots[i] = uint32(k + 1)
}

// grow makes room for n names and enters those of tensors.
func (s *nameSet) grow(n int, tensors []Tensor) {
	size := 8
	for 3*size < 4*n {
		size *= 2
	}
	*s = nameSet{seed: maphash.MakeSeed(), slots: make([]uint32, size), used: s.used}
	for k := range tensors {
		i := s.slot(tensors[k].Name)
		for s.slots[i] != 0 {
			i = (i + 1) & (size - 1)
		}
		s.slots[i] = uint32(k + 1)
	}
}
