// The customer's own script, changed only in how the client is made. `casedb seed` loads the same data
// and can be repeated: this one prints P2002 the second time, changes nothing and still returns 0.
import { UserRole, CaseStatus, Priority } from '@prisma/client';
import bcrypt from 'bcrypt';
import { seedingClient } from './seed-client.ts';

const prisma = await seedingClient();

async function main() {
  // Create users for each role
  const clerk = await prisma.user.create({
    data: {
      email: 'clerk@example.com',
      password: await bcrypt.hash('password123', 10),
      role: UserRole.CLERK,
      firstName: 'John',
      lastName: 'Clerk',
    },
  });

  const chair = await prisma.user.create({
    data: {
      email: 'chair@example.com', 
      password: await bcrypt.hash('password123', 10),
      role: UserRole.CHAIR,
      firstName: 'Jane',
      lastName: 'Chair',
    },
  });

  const caseworker = await prisma.user.create({
    data: {
      email: 'caseworker@example.com',
      password: await bcrypt.hash('password123', 10),
      role: UserRole.CASEWORKER,
      firstName: 'Bob', 
      lastName: 'Caseworker',
    },
  });

  // Create sample cases
  const sampleCase = await prisma.case.create({
    data: {
      title: 'Sample Case for Testing',
      description: 'This is a test case for Phase 0 validation',
      status: CaseStatus.NEW,
      priority: Priority.MEDIUM,
      createdBy: clerk.id,
    },
  });

  // Create audit log entry
  await prisma.case_Log.create({
    data: {
      caseId: sampleCase.id,
      userId: clerk.id,
      action: 'created',
      details: { message: 'Case created during Phase 0 setup' },
    },
  });
}

main()
  .catch((e) => console.error(e))
  .finally(async () => await prisma.$disconnect());
