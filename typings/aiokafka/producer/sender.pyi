from aiokafka.protocol.api import Request, RequestStruct

InitProducerIdRequest: type[Request[RequestStruct]]
DuplicateSequenceNumber: type[Exception]
