package text

import (
	"cmp"
	"slices"
)

const (
	nearestPool = 64  // candidates that the edit distance is computed for
	nearestSize = 512 // bytes at the end of a name that it looks at
	nearestMask = 64  // tokens of the name that are matched: bits of a uint64
)

// Nearest returns the n candidates most like name, best first, for messages
// such as "no tensor X; nearest: …". Candidates that share most of the name's
// tokens (letters or digits between other characters) are picked in one pass;
// the edit distance decides among them. Equal names keep their order.
func Nearest(name string, candidates []string, n int) []string {
	name = tail(name)
	tokens := tokenIndex(name)
	pool := make([]near, 0, 2*nearestPool)
	for i, c := range candidates {
		shared, total := overlap(tokens, tail(c))
		pool = append(pool, near{index: i, score: 2*shared - total, length: abs(len(c) - len(name))})
		if len(pool) == cap(pool) {
			slices.SortFunc(pool, nearer)
			pool = pool[:nearestPool]
		}
	}
	slices.SortFunc(pool, nearer)
	pool = pool[:min(nearestPool, len(pool))]
	var row []int
	for i := range pool {
		row, pool[i].distance = editDistance(row, name, tail(candidates[pool[i].index]))
	}
	slices.SortFunc(pool, func(a, b near) int {
		return cmp.Or(cmp.Compare(a.distance, b.distance), nearer(a, b))
	})
	best := make([]string, 0, max(0, min(n, len(pool))))
	for _, p := range pool[:cap(best)] {
		best = append(best, candidates[p.index])
	}
	return best
}

// A near is a candidate and how near it is.
type near struct {
	index    int
	score    int // bytes of shared tokens minus bytes of the others
	length   int // difference of the lengths
	distance int // edits
}

// nearer orders by shared tokens, then by length, then as given.
func nearer(a, b near) int {
	return cmp.Or(cmp.Compare(b.score, a.score), cmp.Compare(a.length, b.length), cmp.Compare(a.index, b.index))
}

// tail returns the last bytes of a name, which tell names apart.
func tail(name string) string { return name[max(0, len(name)-nearestSize):] }

func abs(n int) int { return max(n, -n) }

// tokenIndex maps each token of a name to one bit for each time it occurs.
func tokenIndex(name string) map[string]uint64 {
	tokens := map[string]uint64{}
	bit := 0
	for token, rest := nextToken(name); token != "" && bit < nearestMask; token, rest = nextToken(rest) {
		tokens[token] |= 1 << bit
		bit++
	}
	return tokens
}

// overlap returns how many bytes of a candidate's tokens the name has too, and
// how many bytes all its tokens have. A token counts one byte more than it has,
// so that many short tokens weigh as much as a long one.
func overlap(tokens map[string]uint64, candidate string) (shared, total int) {
	var used uint64
	for token, rest := nextToken(candidate); token != ""; token, rest = nextToken(rest) {
		total += len(token) + 1
		if free := tokens[token] &^ used; free != 0 {
			used |= free & -free
			shared += len(token) + 1
		}
	}
	return shared, total
}

// nextToken splits off the first run of letters, digits and non-ASCII bytes.
func nextToken(s string) (token, rest string) {
	start := 0
	for start < len(s) && !inToken(s[start]) {
		start++
	}
	end := start
	for end < len(s) && inToken(s[end]) {
		end++
	}
	return s[start:end], s[end:]
}

func inToken(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= 0x80
}

// editDistance returns the least number of inserted, deleted and replaced
// bytes that make a into b (Levenshtein), and its row for the next call.
func editDistance(row []int, a, b string) ([]int, int) {
	row = row[:0]
	for j := range len(b) + 1 {
		row = append(row, j)
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replace := diagonal
			if a[i] != b[j] {
				replace++
			}
			diagonal = row[j+1]
			row[j+1] = min(replace, row[j]+1, diagonal+1)
		}
	}
	return row, row[len(b)]
}
