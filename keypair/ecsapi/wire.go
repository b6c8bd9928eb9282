package ecsapi

// The answers, in ECS's words. A list is never null, and a time is in UTC with minutes:
// "2006-01-02T15:04Z".

// Response is in every answer.
type Response struct {
	RequestID string `json:"RequestId"` // an upper-case UUID
}

func (r *Response) identify(requestID string) { r.RequestID = requestID }

// answer is a pointer to one of the answers.
type answer interface{ identify(requestID string) }

// ErrorResponse is the answer to a request that was refused.
type ErrorResponse struct {
	Response
	HostID    string `json:"HostId"`
	Code      string
	Message   string
	Recommend string // what to do next
}

// CreateKeyPairResponse is the answer of CreateKeyPair.
type CreateKeyPairResponse struct {
	Response
	KeyPairID          string `json:"KeyPairId"`
	KeyPairName        string
	KeyPairFingerPrint string // MD5, sixteen pairs joined by colons
	PrivateKeyBody     string // PEM
}

// ImportKeyPairResponse is the answer of ImportKeyPair.
type ImportKeyPairResponse struct {
	Response
	KeyPairName        string
	KeyPairFingerPrint string
}

// DescribeKeyPairsResponse is the answer of DescribeKeyPairs.
type DescribeKeyPairsResponse struct {
	Response
	Page
	KeyPairs struct{ KeyPair []KeyPair }
}

// Page says which part of all that was found an answer is.
type Page struct {
	PageNumber int // from 1
	PageSize   int
	TotalCount int // on all pages
}

// KeyPair is a key pair in DescribeKeyPairs.
type KeyPair struct {
	KeyPairName        string
	KeyPairFingerPrint string
	CreationTime       string
	ResourceGroupID    string `json:"ResourceGroupId"`
	PublicKey          string `json:",omitempty"` // one line of authorized_keys, if it was asked for
	Tags               struct{ Tag []Tag }
}

// Tag is a tag in DescribeKeyPairs.
type Tag struct {
	TagKey   string
	TagValue string
}

// BindingResponse is the answer of AttachKeyPair and of DetachKeyPair. Its numbers are text.
type BindingResponse struct {
	Response
	KeyPairName string
	TotalCount  string
	FailCount   string
	Results     struct{ Result []BindingResult }
}

// BindingResult is what became of one instance.
type BindingResult struct {
	InstanceID string `json:"InstanceId"`
	Success    string // "true" or "false"
	Code       string // "200", or an error's
	Message    string // "successful", or an error's
}

// DescribeInstancesResponse is the answer of DescribeInstances.
type DescribeInstancesResponse struct {
	Response
	Page
	NextToken string // for the next part, where MaxResults or NextToken asked for one and there is more; else empty
	Instances struct{ Instance []Instance }
}

// Instance is an instance in DescribeInstances.
type Instance struct {
	InstanceAttributes
	OSType          string // "linux" or "windows"
	OSName          string
	MetadataOptions MetadataOptions
	ImageOptions    struct{ LoginAsNonRoot bool }
}

// InstanceAttributes are what DescribeInstances and DescribeInstanceAttribute both tell.
type InstanceAttributes struct {
	InstanceID    string `json:"InstanceId"`
	InstanceName  string
	HostName      string
	InstanceType  string
	ImageID       string `json:"ImageId"`
	SerialNumber  string
	RegionID      string `json:"RegionId"`
	ZoneID        string `json:"ZoneId"`
	Status        string // Pending, Starting, Running, Stopping or Stopped
	KeyPairName   string // empty when none is bound
	CreationTime  string
	VpcAttributes VpcAttributes
}

// VpcAttributes are an instance's addresses.
type VpcAttributes struct {
	PrivateIPAddress struct {
		IPAddress []string `json:"IpAddress"`
	} `json:"PrivateIpAddress"`
}

// MetadataOptions say how an instance's metadata endpoint is asked.
type MetadataOptions struct {
	HTTPEndpoint            string `json:"HttpEndpoint"` // enabled or disabled
	HTTPTokens              string `json:"HttpTokens"`   // optional or required
	HTTPPutResponseHopLimit int    `json:"HttpPutResponseHopLimit"`
}

// DescribeInstanceAttributeResponse is the answer of DescribeInstanceAttribute.
type DescribeInstanceAttributeResponse struct {
	Response
	InstanceAttributes
}

// RebootInstancesResponse is the answer of RebootInstances.
type RebootInstancesResponse struct {
	Response
	InstanceResponses struct{ InstanceResponse []InstanceResponse }
}

// InstanceResponse is what became of one instance that was to be restarted.
type InstanceResponse struct {
	InstanceID     string `json:"InstanceId"`
	Code           string // "200", or an error's
	Message        string // "success", or an error's
	PreviousStatus string
	CurrentStatus  string
}

// DescribeRegionsResponse is the answer of DescribeRegions.
type DescribeRegionsResponse struct {
	Response
	Regions struct{ Region []Region }
}

// Region is a region in DescribeRegions.
type Region struct {
	RegionID       string `json:"RegionId"`
	LocalName      string
	RegionEndpoint string // host, and port where it is not the scheme's own
	Status         string
}

// ListTagResourcesResponse is the answer of ListTagResources.
type ListTagResourcesResponse struct {
	Response
	NextToken    string // empty: all are told at once
	TagResources struct{ TagResource []TagResource }
}

// TagResource is one tag of one key pair.
type TagResource struct {
	ResourceType string // "keypair"
	ResourceID   string `json:"ResourceId"` // as it was asked for; the name where it was not
	TagKey       string
	TagValue     string
}
