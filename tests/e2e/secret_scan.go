// Prints the files in which the rule of gitleaks or TruffleHog finds a secret of enough entropy. The first argument is the
// file with the rule.
package main

import (
	"fmt"
	"math"
	"os"
	"regexp"
	"strconv"
)

func read(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		panic(err)
	}
	return string(text)
}

// Bits per character, as both compute it.
func entropy(text string) float64 {
	counts := map[rune]float64{}
	for _, c := range text {
		counts[c]++
	}
	bits := 0.0
	for _, count := range counts {
		share := count / float64(len(text))
		bits -= share * math.Log2(share)
	}
	return bits
}

func main() {
	rule := read(os.Args[1])
	pattern := regexp.MustCompile(`(?m)^\s*(?:regex = '''(.*)'''|key: '(.*)')$`).FindStringSubmatch(rule)
	least := regexp.MustCompile(`(?m)^\s*entropy(?: =|:) (\d+)$`).FindStringSubmatch(rule)
	bits, err := strconv.ParseFloat(least[1], 64)
	if err != nil {
		panic(err)
	}
	secrets := regexp.MustCompile(pattern[1] + pattern[2])
	for _, path := range os.Args[2:] {
		for _, secret := range secrets.FindAllString(read(path), -1) {
			if entropy(secret) > bits {
				fmt.Println(path)
				break
			}
		}
	}
}
