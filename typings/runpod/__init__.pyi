from runpod import serverless as serverless
