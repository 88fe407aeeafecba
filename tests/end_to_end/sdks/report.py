"""Reports one error with raygun4py: report.py HOST:PORT KEY MESSAGE [nan]. Prints the status that the SDK saw."""

import sys

from raygun4py import raygunprovider

host, key, message = sys.argv[1:4]
sender = raygunprovider.RaygunSender(key)
sender.endpointprotocol = "http://"
sender.endpointhost = host
extra = {"n": float("nan")} if "nan" in sys.argv[4:] else {"n": 1}
try:
    raise ValueError(message)
except ValueError:
    status, _ = sender.send_exception(userCustomData=extra)
print(status)
