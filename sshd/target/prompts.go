package target

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"golang.org/x/crypto/ssh"
)

// askPrompts is keyboard-interactive (RFC 4256): every round is asked, whatever was answered before, so that nobody learns which
// answer was wrong, or that there is no such user.
func (c *connection) askPrompts(meta ssh.ConnMetadata, ask ssh.KeyboardInteractiveChallenge, so *progress) (*ssh.Permissions, error) {
	attempt := Event{User: meta.User(), Method: keyboardInteractive}
	rounds, own := c.server.options.promptsFor(meta.User())
	right, err := answersAreRight(rounds, ask)
	if err != nil {
		return c.fail(attempt, fmt.Errorf("ask for the answers: %w", err))
	}
	return c.try(meta, attempt, so, func(*policy) (proof, error) {
		if !right || !own {
			return proof{}, errors.New("wrong answer")
		}
		return proof{method: keyboardInteractive}, nil
	})
}

// answersAreRight asks all rounds. An error means that the client did not answer at all.
func answersAreRight(rounds [][]Prompt, ask ssh.KeyboardInteractiveChallenge) (bool, error) {
	right := asksSomething(rounds)
	for _, round := range rounds {
		questions, echos := make([]string, len(round)), make([]bool, len(round))
		for i, prompt := range round {
			questions[i], echos[i] = prompt.Text, prompt.Echo
		}
		answers, err := ask("", "", questions, echos)
		if err != nil {
			return false, err
		}
		for i, prompt := range round {
			right = sameSecret(answers[i], prompt.Answer) && right
		}
	}
	return right, nil
}

// asksSomething tells whether there is an answer that has to be known.
func asksSomething(rounds [][]Prompt) bool {
	return slices.ContainsFunc(rounds, func(round []Prompt) bool { return len(round) > 0 })
}

// promptsFor is what a user is asked, and whether the answers are the user's own. Who has none is asked what others are, so that
// the questions do not tell who is known.
func (o *options) promptsFor(user string) (rounds [][]Prompt, own bool) {
	if rounds := o.users[user].rounds(); rounds != nil {
		return rounds, true
	}
	for _, name := range slices.Sorted(maps.Keys(o.users)) {
		if rounds := o.users[name].rounds(); rounds != nil {
			return rounds, false
		}
	}
	return User{Password: "none"}.rounds(), false
}

// rounds are the user's Prompts, else a question for the password; nil where there is neither.
func (u User) rounds() [][]Prompt {
	if len(u.Prompts) > 0 {
		return u.Prompts
	}
	if u.Password != "" {
		return [][]Prompt{{{Text: "Password: ", Answer: u.Password}}}
	}
	return nil
}
