package imds_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"

	"github.com/latchkey-ssh/latchkey/keypair/imds"
)

func mustSet(t testing.TB, s *imds.Service, i imds.Instance) {
	t.Helper()
	if err := s.Set(i); err != nil {
		t.Fatal(err)
	}
}

// at is an instance with these addresses.
func at(id string, addresses ...string) imds.Instance {
	i := imds.Instance{ID: id}
	for _, address := range addresses {
		i.Addresses = append(i.Addresses, netip.MustParseAddr(address))
	}
	return i
}

// from asks for the instance id as if from that address.
func from(h http.Handler, remote string, header ...string) answer {
	request := httptest.NewRequest("GET", "/latest/meta-data/instance-id", nil)
	request.RemoteAddr = remote
	for i := 0; i < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	recorder := httptest.NewRecorder()
	h.ServeHTTP(recorder, request)
	return answer{recorder.Code, recorder.Body.String()}
}

func TestAnInstanceIsKnownByWhereItAsksFrom(t *testing.T) {
	s := imds.NewService(imds.Options{})
	a := at("i-a", "10.0.0.1", "fd00::1")
	a.PrivateIPv4, a.SecondaryIPv4 = "192.168.0.1", []netip.Addr{netip.MustParseAddr("192.168.0.9")}
	mustSet(t, s, a)
	mustSet(t, s, at("i-b", "::ffff:10.0.0.2"))
	unknown := answer{404, "Not Found"}
	for remote, want := range map[string]answer{
		"10.0.0.1:1":                 {200, "i-a"},
		"[::ffff:10.0.0.1]:1":        {200, "i-a"},
		"[fd00::1]:1":                {200, "i-a"},
		"192.168.0.1:65535":          {200, "i-a"},
		"192.168.0.9:1":              {200, "i-a"},
		"10.0.0.2:1":                 {200, "i-b"},
		"10.0.0.3:1":                 unknown,
		"[fd00::1%eth0]:1":           unknown,
		"127.0.0.1:1":                unknown,
		"@":                          unknown, // a Unix socket's
		"":                           unknown,
		"i-a":                        unknown,
		"10.0.0.1:1, 10.0.0.2:1":     unknown,
		"[::ffff:255.255.255.255]:1": unknown,
	} {
		check(t, from(s, remote), want)
	}
}

func TestForwardedForIsNoAddress(t *testing.T) {
	s := imds.NewService(imds.Options{})
	mustSet(t, s, at("i-a", "10.0.0.1"))
	mustSet(t, s, at("i-b", "10.0.0.2"))
	for _, name := range []string{"X-Forwarded-For", "X-Real-Ip", "Forwarded"} {
		check(t, from(s, "10.0.0.1:1", name, "10.0.0.2"), answer{200, "i-a"})
		check(t, from(s, "10.0.0.3:1", name, "10.0.0.2"), answer{404, "Not Found"})
	}
	for _, method := range []string{"PUT", "GET", "POST"} {
		got := ask(s.For("i-a"), method, "/latest/api/token", ttlHeader, "60", "X-Forwarded-For", "10.0.0.2")
		check(t, got, answer{403, "Forbidden"})
	}
}

func TestSetMovesAddressesAndRemoveFreesThem(t *testing.T) {
	s := imds.NewService(imds.Options{})
	mustSet(t, s, at("i-a", "10.0.0.1"))
	mustSet(t, s, at("i-b", "10.0.0.2"))
	mustSet(t, s, at("i-a", "10.0.0.3"))
	mustSet(t, s, at("i-b", "10.0.0.1"))
	check(t, from(s, "10.0.0.1:1"), answer{200, "i-b"})
	check(t, from(s, "10.0.0.2:1"), answer{404, "Not Found"})
	check(t, from(s, "10.0.0.3:1"), answer{200, "i-a"})
	s.Remove("i-a")
	s.Remove("i-never")
	check(t, from(s, "10.0.0.3:1"), answer{404, "Not Found"})
	if s.Endpoint("i-a") != nil {
		t.Error("a removed instance has an endpoint")
	}
	mustSet(t, s, at("i-b", "10.0.0.3"))
	check(t, from(s, "10.0.0.3:1"), answer{200, "i-b"})
}

func TestARefusedSetChangesNothing(t *testing.T) {
	s := imds.NewService(imds.Options{})
	mustSet(t, s, at("i-a", "10.0.0.1"))
	mustSet(t, s, at("i-b", "10.0.0.2"))
	if err := s.Set(at("i-b", "10.0.0.9", "::ffff:10.0.0.1")); !errors.Is(err, imds.ErrAddressTaken) {
		t.Errorf("got %v", err)
	}
	if err := s.Set(at("")); !errors.Is(err, imds.ErrNoID) {
		t.Errorf("got %v", err)
	}
	for _, bad := range []imds.Instance{
		{ID: "i-b", PrivateIPv4: "10.0.0"},
		{ID: "i-b", Addresses: make([]netip.Addr, 1)},
	} {
		if err := s.Set(bad); err == nil {
			t.Errorf("%+v was taken", bad)
		}
	}
	check(t, from(s, "10.0.0.1:1"), answer{200, "i-a"})
	check(t, from(s, "10.0.0.2:1"), answer{200, "i-b"})
	check(t, from(s, "10.0.0.9:1"), answer{404, "Not Found"})
}

func TestAListenerOfItsOwnFollowsTheInstance(t *testing.T) {
	s := imds.NewService(imds.Options{})
	h := s.For("i-a")
	check(t, from(h, "10.0.0.9:1"), answer{404, "Not Found"})
	mustSet(t, s, at("i-a"))
	check(t, from(h, "10.0.0.9:1"), answer{200, "i-a"})
	before := s.Endpoint("i-a")
	s.Remove("i-a")
	check(t, from(h, "10.0.0.9:1"), answer{404, "Not Found"})
	mustSet(t, s, at("i-a"))
	check(t, from(h, "10.0.0.9:1"), answer{200, "i-a"})
	check(t, from(before, "10.0.0.9:1"), answer{404, "Not Found"})
}

func TestATokenIsGoodForItsInstanceAlone(t *testing.T) {
	s := imds.NewService(imds.Options{})
	mustSet(t, s, at("i-a"))
	mustSet(t, s, at("i-b"))
	token := ask(s.For("i-a"), "PUT", "/latest/api/token", ttlHeader, "60").Body
	read := func(id string) answer {
		return ask(s.For(id), "GET", "/latest/meta-data/instance-id", tokenHeader, token)
	}
	check(t, read("i-a"), answer{200, "i-a"})
	check(t, read("i-b"), answer{401, "Unauthorized"})
	s.Remove("i-a")
	mustSet(t, s, at("i-a")) // another of the same name
	check(t, read("i-a"), answer{401, "Unauthorized"})
}

func TestAChangedTokenIsUnknown(t *testing.T) {
	e := imds.New(instance())
	token := ask(e, "PUT", "/latest/api/token", ttlHeader, "60").Body
	for n := range token {
		changed := []byte(token)
		changed[n] = 'A' + (changed[n]-'A'+1)%26
		got := ask(e, "GET", "/latest/meta-data/instance-id", tokenHeader, string(changed))
		check(t, got, answer{401, "Unauthorized"})
	}
	check(t, ask(e, "GET", "/latest/meta-data/instance-id", tokenHeader, token+"A").Status, 401)
	check(t, ask(e, "GET", "/latest/meta-data/instance-id", tokenHeader, token[:len(token)-1]).Status, 401)
}

func TestAFloodOfTokensForgetsNone(t *testing.T) {
	e := imds.New(instance())
	first := ask(e, "PUT", "/latest/api/token", ttlHeader, "60").Body
	for range 10_000 {
		ask(e, "PUT", "/latest/api/token", ttlHeader, "21600")
	}
	check(t, ask(e, "GET", "/latest/meta-data/instance-id", tokenHeader, first).Status, 200)
}

func TestMisbehaviourIsOneInstances(t *testing.T) {
	s := imds.NewService(imds.Options{})
	mustSet(t, s, at("i-a", "10.0.0.1"))
	mustSet(t, s, at("i-b", "10.0.0.2"))
	s.Endpoint("i-a").Misbehave(imds.Error500)
	mustSet(t, s, at("i-a", "10.0.0.1")) // goes on
	check(t, from(s, "10.0.0.1:1").Status, 500)
	check(t, from(s, "10.0.0.2:1").Status, 200)
}

// BenchmarkServiceSet is a change of one of 10,000 instances.
func BenchmarkServiceSet(b *testing.B) {
	s := imds.NewService(imds.Options{})
	const instances = 10_000
	keys := []string{keyA, keyB}
	set := func(n, key int) {
		i := at(fmt.Sprint("i-", n), netip.AddrFrom4([4]byte{10, 0, byte(n >> 8), byte(n)}).String())
		i.PublicKey = keys[key%2]
		mustSet(b, s, i)
	}
	for n := range instances {
		set(n, 0)
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		set(i%instances, i/instances+1)
	}
}
